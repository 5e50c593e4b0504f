"""Change queues: change events, taken in bounded batches, and trusted only while the same triggers are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Text, any_, cast, column, delete, func, insert, select, text
from sqlalchemy.types import UserDefinedType

from worker.engine import queries
from worker.engine.stage import stage_tenant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from worker.engine.context import RefreshContext
    from worker.engine.shards import Shard
    from worker.signals.spec import SignalSpec


class _Tid(UserDefinedType[str]):
    """PostgreSQL's tid: where a row is."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name."""
        return "tid"


#: Before the first row of every table.
START: Final = "(0,0)"
_PLACE: Final = column("ctid", _Tid)


class Taken(NamedTuple):
    """Result of taking one batch: the number of change events, and the place of the last one."""

    marks: int
    last: str | None


#: Nothing is taken: named tenants, or a signal without a queue.
NONE: Final = Taken(0, None)


def take(
    conn: Connection, signal: SignalSpec, shard: Shard, *, after: str | None = None, limit: int | None = None
) -> Taken:
    """Move at most `limit` change events of a shard from their queue into the stage, from the place `after` on.

    A batch in the middle of a long queue does not read again what lies before it.
    """
    if signal.incremental is None:
        return NONE
    after = after or START
    changes = signal.changes
    picked = select(_PLACE).select_from(changes.queue).where(cast(after, _Tid) < _PLACE, shard.holds(changes.tenant))
    places = func.array(picked.limit(limit).correlate(None).scalar_subquery(), type_=Text)
    names = [each.name for each in changes.keys.columns]
    taken = (
        delete(changes.queue)
        .where(any_(places) == _PLACE)
        .returning(*(changes.queue.c[name] for name in names), _PLACE.label("place"))
        .cte("taken")
    )
    marked = insert(changes.keys).from_select(names, select(*(taken.c[name] for name in names)).distinct())
    counted = select(func.count(), cast(func.max(taken.c.place), Text)).select_from(taken)
    count, last = conn.execute(counted.add_cte(marked.cte("marked"))).one()
    return Taken(count, last or after)


def take_window_edges(conn: Connection, context: RefreshContext, since: datetime) -> None:
    """Stage the keys, or the tenants, that enter or leave a window between `since` and the context's instant."""
    query = queries.load(context.spec.changes.window_edges)
    parameters = {**context.parameters(), "since": since}
    conn.execute(query.text, {name: parameters[name] for name in query.params})
    if context.excluded:
        conn.execute(delete(stage_tenant).where(stage_tenant.c.tenant_id.in_(context.excluded)))


def slots_of(conn: Connection, tenants: Sequence[str]) -> list[int]:
    """Return the slots of some tenants, ascending."""
    slot = func.signals.slot_of(func.unnest(list(tenants)).column_valued("tenant"))
    return list(conn.execute(select(slot).distinct().order_by(slot)).scalars())


def fingerprint(conn: Connection, signal: SignalSpec) -> str | None:
    """Return what identifies the triggers that mark the signal's changes; None where some change may go unmarked."""
    query = queries.load("engine/capture_fingerprint")
    if signal.incremental is None:
        return None
    row = conn.execute(query.text, {"views": list(signal.sources)}).one()
    found: str | None = row.fingerprint
    return found


def backlog(conn: Connection, signal: SignalSpec, *, at_most: int) -> int:
    """Return how many marks wait, counted up to `at_most`."""
    some = select(text("1")).select_from(signal.changes.queue).limit(at_most).subquery()
    return int(conn.execute(select(func.count()).select_from(some)).scalar_one())
