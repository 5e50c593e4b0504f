"""Row locks of a load: taken in key order, and never waited for while the load holds others.

A host's session that waits for one of our rows looks for a deadlock once, after its deadlock_timeout, and is ended
when it finds one. A deadlock needs both sides to wait. So the load takes the rows that are free. Where one is not, it
lets go of those of the batch, pauses, and tries again. Only a key that another session inserts at the same moment
cannot be skipped: it is waited for `LOCK_TIMEOUT_MS` at a time.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import ARRAY, Text, and_, bindparam, cast, column, func, select, text, true

from ingest.files.expressions import as_stored, clause_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Select

    from ingest.files.staging import Stage

#: SQLSTATE of a lock that is not available.
NOT_AVAILABLE: Final = "55P03"
#: The longest wait for any lock within a batch, milliseconds; small beside deadlock_timeout (1 s by default).
LOCK_TIMEOUT_MS: Final = 50
#: For how long a batch whose rows other sessions hold is tried again, seconds.
PATIENCE_S: Final = 2.0
#: The pause between two tries, seconds: random, so that two sessions in step fall out of it.
PAUSE_S: Final = (0.005, 0.05)

_CURRENT: Final = text("select current_setting('lock_timeout')")
_SET: Final = text("select set_config('lock_timeout', :value, true)")


@contextmanager
def hurried(conn: Connection) -> Iterator[None]:
    """Bound every wait for a lock by `LOCK_TIMEOUT_MS` meanwhile; after an error the transaction is over anyway."""
    before = conn.execute(_CURRENT).scalar_one()
    conn.execute(_SET, {"value": f"{LOCK_TIMEOUT_MS}ms"})
    yield
    conn.execute(_SET, {"value": before})


class RowLocks:
    """Locks of the rows that are in a stage's target already."""

    def __init__(self, conn: Connection, stage: Stage) -> None:
        """Lock rows of the target of `stage`, in the transaction of `conn`."""
        self._conn = conn
        self._stage = stage
        self._target = clause_of(stage.target)
        self._keys = [stage.target.columns[position] for position in stage.target.keys]
        self._some_exist: bool | None = None

    def take(self, chosen: ColumnElement[bool], *, is_last_try: bool) -> bool:
        """Lock the rows that the staged rows `chosen` name; return False when another session holds one of them.

        Raises the driver's LockNotAvailable instead on the last try.
        """
        if not self._stage.replaces or not self._are_known():
            return True
        staged = self._conn.execute(select(*self._stage.keys()).where(chosen)).all()
        if not staged:
            return True
        values = {f"key_{number}": list(each) for number, each in enumerate(zip(*staged, strict=True))}
        counts = self._conn.execute(self._statement(nowait=is_last_try), values).one()
        return bool(counts.locked == counts.there)

    def _are_known(self) -> bool:
        """Tell whether any staged row exists; asked once, since most loads bring new rows alone."""
        if self._some_exist is None:
            staged = self._stage.keys()
            same = [
                self._target.c[one.name] == as_stored(one, key) for one, key in zip(self._keys, staged, strict=True)
            ]
            found = select(true()).select_from(self._target.join(self._stage.table, and_(*same))).limit(1)
            self._some_exist = self._conn.execute(found).first() is not None
        return self._some_exist

    def _statement(self, *, nowait: bool) -> Select[tuple[int, int]]:
        """Return the statement that locks rows in key order; its row says how many, and how many exist.

        The keys are parameters: a staged text has a collation of its own, which no index of the host's has.
        """
        names = [f"k{number}" for number in range(len(self._keys))]
        texts = [cast(bindparam(f"key_{number}"), ARRAY(Text)) for number in range(len(self._keys))]
        named = func.unnest(*texts).table_valued(*(column(name, Text) for name in names)).render_derived("named")
        same = [
            self._target.c[one.name] == as_stored(one, named.c[name])
            for one, name in zip(self._keys, names, strict=True)
        ]
        rows = select(true().label("is_there")).select_from(self._target.join(named, and_(*same)))
        ordered = rows.order_by(*(self._target.c[one.name] for one in self._keys))
        locking = ordered.with_for_update(of=self._target, key_share=True, nowait=nowait, skip_locked=not nowait)
        locked = select(func.count()).select_from(locking.cte("locked")).scalar_subquery()
        there = select(func.count()).select_from(rows.subquery()).scalar_subquery()
        return select(locked.label("locked"), there.label("there"))
