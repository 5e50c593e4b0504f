"""Checked rows on their way into the database: copied as texts into a temporary table, batch by batch."""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg2
from psycopg2 import sql
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg2.extensions import connection
    from sqlalchemy import Connection

    from ingest.files.records import Row
    from ingest.files.targets import Target

#: Rows per COPY, and per statement that stores them.
BATCH: Final = 5000
#: Few rows fill a COPY when they are this long together.
_BATCH_CHARACTERS: Final = 8_000_000
#: What stands for NULL in a COPY: drawn at random, so that no file can hold it.
_NULL: Final = secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Stage:
    """The temporary table of a target.

    `seq` counts the rows, `file` and `line` say where each comes from, `shape` which columns it names, `turn` orders
    rows of one key; `value(i)` is the target's column i as text. A row that is there already stays as it is unless the
    stage `replaces` it.
    """

    target: Target
    table: Table
    replaces: bool = True

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
        line = _copy_line([str(self.count), str(file), str(row.line), str(row.shape.number)], values)
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
            raise self._as_ours(ex, is_lost=bool(driver.closed)) from ex
        self._buffered.clear()
        self._characters = 0

    def _as_ours(self, ex: psycopg2.Error, *, is_lost: bool) -> Exception:
        """Return an error of the driver, which SQLAlchemy did not see, as it would have raised it."""
        if is_lost:
            self._conn.invalidate(ex)
        return DBAPIError.instance(
            "copy", None, ex, psycopg2.Error, hide_parameters=True, connection_invalidated=is_lost
        )


def create_stage(conn: Connection, target: Target, *, replaces: bool = True) -> Stage:
    """Create the stage of `target`; it ends with the transaction."""
    table = Table(
        f"load_{target.table}",
        MetaData(),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        *(Column(name, Integer, nullable=False) for name in ("file", "line", "shape")),
        Column("turn", Integer, nullable=False, server_default="1"),
        *(Column(f"c{position}", Text(collation="C")) for position in range(len(target.columns))),
        prefixes=["temporary"],
        postgresql_on_commit="drop",
    )
    conn.execute(CreateTable(table))
    return Stage(target, table, replaces)


def settle_order(conn: Connection, stage: Stage) -> int:
    """Keep of the rows with one key and one shape the last; number those with one key by `turn`. Return how many went.

    What is left, stored turn by turn, gives what storing each row in the order of the files would.
    """
    conn.execute(text(f"analyze {stage.table.name}"))
    went = _drop_superseded(conn, stage)
    if len(stage.target.shapes) > 1:
        _number_turns(conn, stage)
    return went


def _drop_superseded(conn: Connection, stage: Stage) -> int:
    row = stage.table.c
    later = func.row_number().over(partition_by=[*stage.keys(), row.shape], order_by=row.seq.desc()).label("later")
    ranked = select(row.seq, later).subquery()
    superseded = select(ranked.c.seq).where(ranked.c.later > 1)
    return conn.execute(stage.table.delete().where(row.seq.in_(superseded))).rowcount


def _number_turns(conn: Connection, stage: Stage) -> None:
    row = stage.table.c
    turn = func.row_number().over(partition_by=stage.keys(), order_by=row.seq).label("turn")
    numbered = select(row.seq, turn).subquery()
    is_later = row.seq == numbered.c.seq, numbered.c.turn > 1
    conn.execute(stage.table.update().values(turn=numbered.c.turn).where(*is_later))


def _copy_line(head: Iterable[str], values: Sequence[str | None]) -> str:
    """Return a line of COPY's text format; only rare values need escapes, so it is tried without."""
    cells = [*head, *(_NULL if value is None else value for value in values)]
    line = "\t".join(cells)
    if "\\" in line or "\n" in line or "\r" in line or line.count("\t") >= len(cells):
        line = "\t".join(map(_escape, cells))
    return line + "\n"


def _escape(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
