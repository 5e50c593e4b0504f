"""Rows of traces into the host's tables: one `insert ... on conflict` with arrays per table, in key order.

A row that exists and is to change is locked before it is written, and never waited for: a host's session that holds it
and then waits for another of our rows would lose a deadlock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ARRAY, Text, bindparam, cast, func, select
from sqlalchemy.exc import DBAPIError

from ingest.files.locking import lock_rows
from ingest.files.report import FieldError, LoadError, shown
from ingest.files.targets import KEYS, read_targets
from ingest.files.upsert import as_stored, clause_of, refusal_of, upsert

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, FromClause

    from ingest.assembly.trace_rows import Record
    from ingest.files.targets import Column, Shape, Target

_INTEGERS: Final = frozenset({"int2", "int4", "int8"})


class RowsBusyError(Exception):
    """Another session holds a row that is to be written."""


class TraceStore:
    """Writes rows of runs, traces and steps in the transaction of a connection, as the host's columns take them."""

    def __init__(self, conn: Connection) -> None:
        """Read the host's tables. Raises LoadError where one is missing."""
        self._conn = conn
        self._targets = read_targets(conn)

    def insert(self, table: str, records: Sequence[Record]) -> int:
        """Insert rows whose key is new; return how many were. Needs no right to update the table.

        Raises LoadError for a row that the columns cannot hold or the server refuses.
        """
        return self._write(self._targets[table], records, replaces=False)

    def replace(self, table: str, records: Sequence[Record], *, nowait: bool) -> int:
        """Insert rows, or update those that exist and differ; return how many were written.

        Raises RowsBusyError where another session holds one of them, or the driver's LockNotAvailable with `nowait`.
        Raises LoadError as `insert` does.
        """
        target = self._targets[table]
        keys = [[record[field] for field in KEYS[table]] for record in records]
        if not lock_rows(self._conn, target, keys, nowait=nowait):
            raise RowsBusyError
        return self._write(target, records, replaces=True)

    def require_traces(self, trace_ids: Sequence[str]) -> None:
        """Raise LoadError where a trace that steps refer to does not exist."""
        target = self._targets["aos_traces"]
        column = target.columns[target.position("trace_id")]
        host_table, given = clause_of(target), _given([column])
        value = next(_values([column], given))
        joined = given.outerjoin(host_table, host_table.c[column.name] == value)
        missing = select(given.c.c0).select_from(joined).where(host_table.c[column.name].is_(None)).limit(1)
        found = self._conn.execute(missing, {"c0": trace_ids}).scalar()
        if found is not None:
            raise LoadError(f"aos_trace_steps: trace_id: expected a trace that exists, got {shown(found)}")

    def _write(self, target: Target, records: Sequence[Record], *, replaces: bool) -> int:
        written = 0
        ordered = sorted(records, key=lambda record: [record[field] for field in KEYS[target.table]])
        try:
            for shape, rows in _by_shape(target, ordered):
                given = _given(shape.columns)
                chosen = select(*_values(shape.columns, given)).order_by(given.c.place)
                statement = upsert(target, shape, chosen, replaces=replaces)
                texts = {f"c{number}": list(each) for number, each in enumerate(zip(*rows, strict=True))}
                written += len(self._conn.execute(statement, texts).all())
        except FieldError as ex:
            raise LoadError(f"{target.table}: {ex}") from None
        except DBAPIError as ex:
            reason = refusal_of(ex)
            if reason is None:
                raise
            raise LoadError(f"{target.table}: the database refuses a row: {reason}") from None
        return written


def _by_shape(target: Target, records: Sequence[Record]) -> Sequence[tuple[Shape, list[list[str | None]]]]:
    """Return the rows as texts by the columns that they name.

    Fields that the host lacks are left out; where a column takes no NULL, its default stands for an unknown value. A
    duration or a cost is rounded where the column holds integers.
    Raises FieldError for a value that its column cannot hold.
    """
    columns = {column.field: column for column in target.columns}
    found: dict[int, tuple[Shape, list[list[str | None]]]] = {}
    for record in records:
        fields = sorted(
            name
            for name, value in record.items()
            if name in columns and not (value is None and columns[name].is_not_null)
        )
        shape = target.shape(fields)
        rows = found.setdefault(shape.number, (shape, []))[1]
        values = [
            round(value) if isinstance(value := record[column.field], float) and column.kind in _INTEGERS else value
            for column in shape.columns
        ]
        rows.append(shape.bind_values(values))
    return list(found.values())


def _given(columns: Sequence[Column]) -> FromClause:
    """Return the arrays of texts `:c0`, `:c1`, ... as a table of those columns, with the `place` of each row."""
    names = [f"c{number}" for number in range(len(columns))]
    arrays = [cast(bindparam(name), ARRAY(Text)) for name in names]
    return func.unnest(*arrays).table_valued(*names, with_ordinality="place").render_derived(name="given")


def _values(columns: Sequence[Column], given: FromClause) -> Iterator[ColumnElement[Any]]:
    for number, column in enumerate(columns):
        yield as_stored(column, given.c[f"c{number}"])
