"""Staged rows into their table: inserted, updated where they differ, untouched where they do not.

What the server alone can judge (constraints, triggers, types without a check of ours) it judges here: a batch that it
refuses is halved until the refused rows stand alone, and each becomes a problem of its line.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Boolean,
    and_,
    cast,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import DBAPIError

from ingest.files.expressions import as_stored, clause_of
from ingest.files.locking import NOT_AVAILABLE, PATIENCE_S, PAUSE_S, RowLocks, hurried
from ingest.files.problems import Problem, shown
from ingest.files.staging import BATCH
from snapshots.errors import sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import ColumnElement, Connection, Row, Select, TableClause
    from sqlalchemy.dialects.postgresql import Insert
    from sqlalchemy.sql.dml import ReturningInsert

    from ingest.files.staging import Stage
    from ingest.files.targets import Column, Shape

    Report = Callable[[int, Problem], None]

#: Classes of SQLSTATE that speak of a row: data exception, constraint, trigger's exception, view's check.
_ABOUT_A_ROW: Final = ("22", "23", "P0", "44")


@dataclass(slots=True)
class Stored:
    """How many staged rows were inserted, updated, or found as they are."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    shape: Shape
    turn: int
    first: int
    last: int

    def halves(self) -> list[_Batch]:
        """Return its two halves, the first one last: they are taken from the end."""
        middle = (self.first + self.last) // 2
        return [replace(self, first=middle + 1), replace(self, last=middle)]


class Merger:
    """Stores the rows of a stage; `report` hears of each row that the server refuses, with the number of its file."""

    def __init__(self, conn: Connection, stage: Stage, report: Report) -> None:
        """Store what `stage` holds."""
        self._conn = conn
        self._stage = stage
        self._report = report
        self._locks = RowLocks(conn, stage)
        self._random = Random()  # noqa: S311  # pauses, not a secret
        self.stored = Stored()

    def run(self) -> Stored:
        """Store every row and return what became of them."""
        with hurried(self._conn):
            for batch in self._batches():
                self._store(batch)
        return self.stored

    def _store(self, batch: _Batch) -> None:
        """Store a batch; report the rows of it that the server refuses."""
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            refusal = self._attempt(part)
            if refusal is not None and part.first == part.last:
                self._refuse(part.first, refusal)
            elif refusal is not None:
                waiting += part.halves()

    def _batches(self) -> Iterator[_Batch]:
        row = self._stage.table.c
        part = (row.seq // BATCH).label("part")
        found = (
            select(row.shape, row.turn, func.min(row.seq), func.max(row.seq))
            .group_by(row.shape, row.turn, part)
            .order_by(row.turn, part, row.shape)
        )
        for shape, turn, first, last in self._conn.execute(found).all():
            yield _Batch(self._stage.target.shapes[shape], turn, first, last)

    def _attempt(self, batch: _Batch) -> DBAPIError | None:
        """Store a batch, or nothing of it: then return what the server has against a row of it.

        While other sessions hold rows of it, none of them is held and it is tried again, for `PATIENCE_S`; then raises
        the driver's LockNotAvailable.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            is_last_try = time.monotonic() >= deadline
            # SQLAlchemy's own savepoints stay open when rolled back: thousands would fill the server's lock table.
            self._conn.execute(text("savepoint load_batch"))
            refusal = None
            try:
                counts = self._try(batch, is_last_try=is_last_try)
            except DBAPIError as ex:
                is_busy = sqlstate(ex) == NOT_AVAILABLE and not is_last_try
                if not is_busy and not (sqlstate(ex) or "").startswith(_ABOUT_A_ROW):
                    raise
                counts, refusal = None, None if is_busy else ex
            if counts is None:
                self._conn.execute(text("rollback to savepoint load_batch"))
            self._conn.execute(text("release savepoint load_batch"))
            if counts is not None or refusal is not None:
                return refusal
            time.sleep(self._random.uniform(*PAUSE_S))

    def _try(self, batch: _Batch, *, is_last_try: bool) -> Row[Any] | None:
        """Store a batch and count it; return None, with nothing stored, where another session holds a row of it."""
        if not self._locks.take(self._chosen(batch), is_last_try=is_last_try):
            return None
        counts = self._conn.execute(self._statement(batch)).one()
        self.stored.inserted += counts.inserted
        self.stored.updated += counts.written - counts.inserted
        self.stored.unchanged += counts.staged - counts.written
        return counts

    def _refuse(self, seq: int, ex: DBAPIError) -> None:
        row = self._stage.table.c
        file, line, *key = self._conn.execute(
            select(row.file, row.line, *self._stage.keys()).where(row.seq == seq)
        ).one()
        fields = [self._stage.target.columns[position].field for position in self._stage.target.keys]
        name = ", ".join(f"{field} {shown(value)}" for field, value in zip(fields, key, strict=True))
        diagnosis = getattr(ex.orig, "diag", None)
        reason = getattr(diagnosis, "message_primary", None) or type(ex.orig).__name__
        self._report(file, Problem(line, f"{name}: the database refuses the row: {reason}"))

    def _statement(self, batch: _Batch) -> Select[tuple[int, int, int]]:
        """Return the statement that stores a batch; its row says how many were staged, written and inserted."""
        chosen = self._chosen(batch)
        written = self._upsert(batch.shape, chosen).cte("written")
        staged = select(func.count()).select_from(self._stage.table).where(chosen).scalar_subquery()
        inserted = func.count().filter(written.c.is_new)
        return select(staged.label("staged"), func.count().label("written"), inserted.label("inserted")).select_from(
            written
        )

    def _chosen(self, batch: _Batch) -> ColumnElement[bool]:
        row = self._stage.table.c
        return and_(row.shape == batch.shape.number, row.turn == batch.turn, row.seq.between(batch.first, batch.last))

    def _upsert(self, shape: Shape, chosen: ColumnElement[bool]) -> ReturningInsert[tuple[bool]]:
        target = clause_of(self._stage.target)
        texts = zip(shape.columns, shape.positions, strict=True)
        values = [as_stored(one, self._stage.value(position)) for one, position in texts]
        names = [one.name for one in shape.columns]
        # In key order, as everybody else who stores through this: two that insert the same keys never wait in a circle.
        keyed = [
            as_stored(self._stage.target.columns[each], self._stage.value(each)) for each in self._stage.target.keys
        ]
        rows = select(*values).where(chosen).order_by(*keyed)
        statement = insert(target).from_select(names, rows)
        keys = [self._stage.target.columns[position].name for position in self._stage.target.keys]
        others = [one for one in shape.columns if one.name not in keys]
        is_new = literal_column("(xmax = 0)", Boolean).label("is_new")
        if not others or not self._stage.replaces:
            return statement.on_conflict_do_nothing(index_elements=keys).returning(is_new)
        before = tuple_(*(_comparable(one, target.c[one.name]) for one in others))
        after = tuple_(*(_comparable(one, statement.excluded[one.name]) for one in others))
        return statement.on_conflict_do_update(
            index_elements=keys,
            set_={one.name: statement.excluded[one.name] for one in others},
            where=and_(before.is_distinct_from(after), *_keeps_tenant(target, statement, shape)),
        ).returning(is_new)


def _keeps_tenant(target: TableClause, statement: Insert, shape: Shape) -> Iterator[ColumnElement[bool]]:
    """Yield that a row keeps its tenant, in the statement that writes it: what was looked up before may have changed.

    One that belongs to nobody may be claimed.
    """
    for one in shape.columns:
        if one.field == "tenant_id":
            owner = func.nullif(target.c[one.name], "")
            yield or_(owner.is_(None), owner == statement.excluded[one.name])


def _comparable(one: Column, value: ColumnElement[object]) -> ColumnElement[object]:
    return cast(value, JSONB) if one.kind == "json" else value
