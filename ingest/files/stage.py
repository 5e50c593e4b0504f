"""Staged rows of a load: copied as texts into a temporary table, ordered, and compared with what is stored.

A run or trace keeps its tenant: a line that would move one to another tenant, or take it from its own, is refused,
since it would show one tenant's rows to another. A row without a tenant, a word that no rule knows and an instant
without a zone are stored, and counted.
"""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg2
from psycopg2 import sql
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    column,
    exists,
    func,
    or_,
    select,
    table,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from ingest.files.report import KEPT, Problem, shown
from ingest.files.values import ASSUMED_UTC
from ingest.vocabulary import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection
    from sqlalchemy import ColumnElement, Connection, Subquery, TableClause

    from ingest.files.reading import Row
    from ingest.files.targets import Target

#: Rows per COPY, and per statement that stores them.
BATCH: Final = 5000
#: Few rows fill a COPY when they are this long together.
_BATCH_CHARACTERS: Final = 8_000_000
#: Text that stands for NULL in a COPY: drawn at random, so that no file can hold it.
_NULL: Final = secrets.token_hex(16)
#: Characters that COPY's text format escapes.
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_TENANT: Final = "tenant_id"


@dataclass(frozen=True, slots=True)
class Stage:
    """The temporary table of a target.

    `seq` counts the rows, `file` and `line` say where each comes from, `shape` which columns it names, `turn` orders
    rows of one key; `value(i)` is the target's column i as text.
    """

    target: Target
    table: Table

    def value(self, position: int) -> Column[str]:
        """Return the staged text of the target's column at `position`."""
        return self.table.c[f"c{position}"]

    def keys(self) -> list[Column[str]]:
        """Return the staged columns of the key."""
        return [self.value(position) for position in self.target.keys]


class Feeder:
    """Copies rows into a stage; holds at most one batch of them."""

    def __init__(self, conn: Connection, stage: Stage) -> None:
        """Feed `stage`."""
        self._conn = conn
        self._stage = stage
        self._width = len(stage.target.columns)
        self._buffered: list[str] = []
        self._characters = 0
        self.count = 0

    def add(self, file: int, row: Row) -> None:
        """Take a row of the file number `file`."""
        values: list[str | None] = [None] * self._width
        for position, value in zip(row.shape.positions, row.values, strict=True):
            values[position] = value
        head = [str(self.count), str(file), str(row.line), str(row.shape.number)]
        cells = [*head, *(_NULL if value is None else value for value in values)]
        line = "\t".join(cells) + "\n"
        # Only rare values need escapes, so it is tried without.
        if "\\" in line or line.count("\n") > 1 or "\r" in line or line.count("\t") >= len(cells):
            line = "\t".join(cell.translate(_ESCAPES) for cell in cells) + "\n"
        self._buffered.append(line)
        self._characters += len(line)
        self.count += 1
        if len(self._buffered) == BATCH or self._characters >= _BATCH_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """Copy what is held."""
        columns = [column.name for column in self._stage.table.columns if column.name != "turn"]
        statement = sql.SQL("copy {} ({}) from stdin (null {})").format(
            sql.Identifier(self._stage.table.name),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Literal(_NULL),
        )
        driver: connection = self._conn.connection.driver_connection  # type: ignore[assignment]  # ours is psycopg2
        try:
            with driver.cursor() as cursor:
                cursor.copy_expert(statement, io.StringIO("".join(self._buffered)))
        except psycopg2.Error as ex:
            # SQLAlchemy did not see the error: it is raised as SQLAlchemy would have.
            is_lost = bool(driver.closed)
            if is_lost:
                self._conn.invalidate(ex)
            raise DBAPIError.instance(
                "copy", None, ex, psycopg2.Error, hide_parameters=True, connection_invalidated=is_lost
            ) from ex
        self._buffered.clear()
        self._characters = 0


def create_stage(conn: Connection, target: Target) -> Stage:
    """Create the stage of `target`; it ends with the transaction."""
    staged = Table(
        f"load_{target.table}",
        MetaData(),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        *(Column(name, Integer, nullable=False) for name in ("file", "line", "shape")),
        Column("turn", Integer, nullable=False, server_default="1"),
        *(Column(f"c{position}", Text(collation="C")) for position in range(len(target.columns))),
        prefixes=["temporary"],
        postgresql_on_commit="drop",
    )
    conn.execute(CreateTable(staged))
    return Stage(target, staged)


def settle_order(conn: Connection, stage: Stage) -> int:
    """Keep of the rows with one key and one shape the last; number those with one key by `turn`. Return how many went.

    What is left, stored turn by turn, gives what storing each row in the order of the files would.
    """
    conn.execute(text(f"analyze {stage.table.name}"))
    row = stage.table.c
    later = func.row_number().over(partition_by=[*stage.keys(), row.shape], order_by=row.seq.desc()).label("later")
    ranked = select(row.seq, later).subquery()
    superseded = select(ranked.c.seq).where(ranked.c.later > 1)
    went = conn.execute(stage.table.delete().where(row.seq.in_(superseded))).rowcount
    if len(stage.target.shapes) > 1:
        turn = func.row_number().over(partition_by=stage.keys(), order_by=row.seq).label("turn")
        numbered = select(row.seq, turn).subquery()
        is_later = row.seq == numbered.c.seq, numbered.c.turn > 1
        conn.execute(stage.table.update().values(turn=numbered.c.turn).where(*is_later))
    return went


def refuse_moves(conn: Connection, stage: Stage) -> tuple[list[tuple[int, Problem]], int]:
    """Take out the staged rows that would change the tenant of their key; the first line that names one decides.

    Returns the first of them, each with the number of its file, and how many there were.
    """
    if not stage.target.has(_TENANT):
        return [], 0
    moving = _moving(stage)
    row = moving.c
    chosen = conn.execute(
        select(row.file, row.line, row.key, row.staged, row.owner).order_by(row.seq).limit(KEPT)
    ).all()
    if not chosen:
        return [], 0
    gone = stage.table.delete().where(stage.table.c.seq.in_(select(moving.c.seq)))
    count = conn.execute(gone).rowcount
    problems = []
    for each in chosen:
        name = "NULL" if each.staged is None else shown(each.staged)
        expected = f"{_TENANT}: expected {shown(each.owner)}, whose {shown(each.key)} is, got {name}"
        problems.append((each.file, Problem(each.line, f"{expected}; nothing moves to another tenant")))
    return problems, count


def refuse_orphans(conn: Connection, stage: Stage, traces: Target) -> tuple[list[tuple[int, Problem]], int]:
    """Take out the staged steps whose trace exists neither in `traces` nor in the files.

    Returns the first of them, each with the number of its file, and how many there were.
    """
    row, trace_id = stage.table.c, stage.keys()[0]
    key = traces.columns[traces.keys[0]].name
    known = table(traces.host_table, column(key), schema=traces.host_schema)
    is_orphan = ~exists(select(known.c[key]).where(known.c[key] == trace_id))
    first = conn.execute(select(row.file, row.line, trace_id).where(is_orphan).order_by(row.seq).limit(KEPT)).all()
    if not first:
        return [], 0
    count = conn.execute(stage.table.delete().where(is_orphan)).rowcount
    expected = "trace_id: expected a trace that exists, got"
    return [(file, Problem(line, f"{expected} {shown(missing)}")) for file, line, missing in first], count


def remarks(conn: Connection, stage: Stage) -> dict[str, int]:
    """Return how many staged rows are remarkable, by what is remarkable; nothing where none is."""
    wanted = dict(_remarkable(stage))
    if not wanted:
        return {}
    counted = (func.count().filter(condition) for condition in wanted.values())
    counts = conn.execute(select(*counted).select_from(stage.table)).one()
    return {words: count for words, count in zip(wanted, counts, strict=True) if count}


def _moving(stage: Stage) -> Subquery:
    """Return the staged rows whose tenant is not the one that their key has, in the table or since an earlier line."""
    row, key, staged = stage.table.c, stage.keys()[0], stage.value(stage.target.position(_TENANT))
    known = _stored(stage)
    first = (
        select(key.label("key"), staged.label("tenant"))
        .where(staged != "")
        .ext(distinct_on(key))
        .order_by(key, row.seq)
        .subquery()
    )
    stored_key, stored_tenant = list(known.c)
    owner = func.coalesce(func.nullif(stored_tenant, ""), first.c.tenant)
    joined = stage.table.outerjoin(first, first.c.key == key).outerjoin(known, stored_key == key)
    is_moved = and_(_names(stage, _TENANT), owner.is_not(None), staged.is_distinct_from(owner))
    shown_columns = row.seq, row.file, row.line, key.label("key"), staged.label("staged"), owner.label("owner")
    return select(*shown_columns).select_from(joined).where(is_moved).subquery()


def _stored(stage: Stage) -> TableClause:
    """Return the target as a table of two columns: its key and its tenant."""
    target = stage.target
    names = target.columns[target.keys[0]].name, target.columns[target.position(_TENANT)].name
    return table(target.host_table, *map(column, names), schema=target.host_schema)


def _names(stage: Stage, field: str) -> ColumnElement[bool]:
    """Return whether a staged row names a field: one that it does not name is left as it is."""
    position = stage.target.position(field)
    shapes = [shape.number for shape in stage.target.shapes if position in shape.positions]
    return stage.table.c.shape.in_(shapes)


def _remarkable(stage: Stage) -> Iterator[tuple[str, ColumnElement[bool]]]:
    target = stage.target
    if target.has(_TENANT):
        # It names an empty one, or it is new and names none.
        named, stored = _names(stage, _TENANT), _stored(stage)
        key, tenant = stage.keys()[0], stage.value(target.position(_TENANT))
        is_stored = exists(select(true()).select_from(stored).where(next(iter(stored.c)) == key))
        has_none = or_(and_(named, func.coalesce(tenant, "") == ""), and_(~named, ~is_stored))
        yield "without a tenant, and so in no answer", has_none
    for name, known in WORDS.items():
        if target.table == "runs" and target.has(name):
            value = stage.value(target.position(name))
            yield f"with a {name} that no rule knows (not {', '.join(known)})", value.not_in(known)
    instants = [
        stage.value(each) for each, one in enumerate(target.columns) if one.kind in {"timestamp", "timestamptz"}
    ]
    if instants:
        yield "with a time without a zone, taken as UTC", or_(*(value.endswith(ASSUMED_UTC) for value in instants))
