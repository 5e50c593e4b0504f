"""Staged rows into their table: inserted, updated where they differ, untouched where they do not.

What the server alone can judge (constraints, triggers, types without a check of ours) it judges here: a batch that it
refuses is halved until the refused rows stand alone, and each becomes a problem of its line.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from psycopg2.errorcodes import LOCK_NOT_AVAILABLE
from sqlalchemy import and_, func, select, text, true
from sqlalchemy.exc import DBAPIError

from ingest.files.locking import PATIENCE_S, hurried, lock_rows, pause
from ingest.files.report import Problem, shown
from ingest.files.stage import BATCH
from ingest.files.upsert import as_stored, clause_of, refusal_of, upsert
from snapshots.errors import sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement, Connection, Select

    from ingest.files.stage import Stage
    from ingest.files.targets import Shape

    Report = Callable[[int, Problem], None]


@dataclass(slots=True)
class Stored:
    """Counts of staged rows that were inserted, updated, or found unchanged."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    shape: Shape
    turn: int
    first: int
    last: int


class Merger:
    """Writer of a stage's rows; calls `report` for each row that the server refuses, with the number of its file."""

    def __init__(self, conn: Connection, stage: Stage, report: Report) -> None:
        """Store what `stage` holds."""
        self._conn = conn
        self._stage = stage
        self._report = report
        self._some_exist: bool | None = None
        self.stored = Stored()

    def run(self) -> Stored:
        """Store every row and return what became of them."""
        row = self._stage.table.c
        number = (row.seq // BATCH).label("number")
        batches = (
            select(row.shape, row.turn, func.min(row.seq), func.max(row.seq))
            .group_by(row.shape, row.turn, number)
            .order_by(row.turn, number, row.shape)
        )
        with hurried(self._conn):
            for shape, turn, first, last in self._conn.execute(batches).all():
                waiting = [_Batch(self._stage.target.shapes[shape], turn, first, last)]
                while waiting:
                    part = waiting.pop()
                    refusal = self._attempt(part)
                    if refusal is not None and part.first == part.last:
                        self._refuse(part.first, refusal)
                    elif refusal is not None:
                        # The first half last: batches are taken from the end.
                        middle = (part.first + part.last) // 2
                        waiting += [replace(part, first=middle + 1), replace(part, last=middle)]
        return self.stored

    def _attempt(self, batch: _Batch) -> str | None:
        """Store a batch, or nothing of it: then return the server's objection to a row of it.

        While other sessions hold rows of it, none of them is held and it is tried again, for `PATIENCE_S`; then raises
        the driver's LockNotAvailable.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            is_last_try = time.monotonic() >= deadline
            # SQLAlchemy's own savepoints stay open when rolled back: thousands would fill the server's lock table.
            self._conn.execute(text("savepoint load_batch"))
            is_stored, refusal = False, None
            try:
                is_stored = self._store(batch, is_last_try=is_last_try)
            except DBAPIError as ex:
                refusal = refusal_of(ex)
                if refusal is None and (is_last_try or sqlstate(ex) != LOCK_NOT_AVAILABLE):
                    raise
            if not is_stored:
                self._conn.execute(text("rollback to savepoint load_batch"))
            self._conn.execute(text("release savepoint load_batch"))
            if is_stored or refusal is not None:
                return refusal
            pause()

    def _store(self, batch: _Batch, *, is_last_try: bool) -> bool:
        """Store a batch and count it; return False, with nothing stored, where another session holds a row of it."""
        row = self._stage.table.c
        chosen = and_(row.shape == batch.shape.number, row.turn == batch.turn, row.seq.between(batch.first, batch.last))
        if self._do_some_exist():
            keys = [list(each) for each in self._conn.execute(select(*self._stage.keys()).where(chosen))]
            if not lock_rows(self._conn, self._stage.target, keys, nowait=is_last_try):
                return False
        counts = self._conn.execute(self._statement(batch.shape, chosen)).one()
        self.stored.inserted += counts.inserted
        self.stored.updated += counts.written - counts.inserted
        self.stored.unchanged += counts.staged - counts.written
        return True

    def _do_some_exist(self) -> bool:
        """Tell whether any staged row exists in the target; asked once, since most loads bring new rows alone."""
        if self._some_exist is None:
            target = self._stage.target
            host_table = clause_of(target)
            columns = [target.columns[position] for position in target.keys]
            keys = zip(columns, self._stage.keys(), strict=True)
            same = and_(*(host_table.c[one.name] == as_stored(one, key) for one, key in keys))
            found = select(true()).select_from(host_table.join(self._stage.table, same)).limit(1)
            self._some_exist = self._conn.execute(found).first() is not None
        return self._some_exist

    def _statement(self, shape: Shape, chosen: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
        """Return the statement that stores the `chosen` rows; its row says how many were staged, written, inserted."""
        target = self._stage.target
        texts = zip(shape.columns, shape.positions, strict=True)
        values = [as_stored(one, self._stage.value(position)) for one, position in texts]
        # In key order: two sessions that insert the same keys never wait for each other in a circle.
        keyed = [as_stored(target.columns[position], self._stage.value(position)) for position in target.keys]
        rows = select(*values).where(chosen).order_by(*keyed)
        written = upsert(target, shape, rows, replaces=True).cte("written")
        staged = select(func.count()).select_from(self._stage.table).where(chosen).scalar_subquery()
        inserted = func.count().filter(written.c.is_new)
        return select(staged.label("staged"), func.count().label("written"), inserted.label("inserted")).select_from(
            written
        )

    def _refuse(self, seq: int, reason: str) -> None:
        row = self._stage.table.c
        file, line, *key = self._conn.execute(
            select(row.file, row.line, *self._stage.keys()).where(row.seq == seq)
        ).one()
        fields = [self._stage.target.columns[position].field for position in self._stage.target.keys]
        name = ", ".join(f"{field} {shown(value)}" for field, value in zip(fields, key, strict=True))
        self._report(file, Problem(line, f"{name}: the database refuses the row: {reason}"))
