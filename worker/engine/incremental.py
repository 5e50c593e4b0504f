"""One batch of a refresh, in one transaction: of what changed where that is known, else of everything.

The full recompute is the guaranteed fallback: it runs whenever it is not certain that every change since the facts were
made is in the queue (architecture.md "Refresh protocol").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import func, select, union

from snapshots.tables import snapshot
from worker.engine import change_queue, fact_rules, queries, stage
from worker.engine.change_queue import START
from worker.engine.compute import compute
from worker.engine.publication import Publication
from worker.engine.publish import confirm, publish
from worker.engine.scope import Scope
from worker.engine.shards import WHOLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from snapshots.settings import Settings
    from worker.engine.results import RefreshResult
    from worker.engine.shards import Shard
    from worker.signals.spec import Signal


@dataclass(frozen=True, slots=True)
class Order:
    """What a batch is to do: for whom, under which ledger row, from which place of the queue on, and how much of it.

    `limit` None takes every mark there is; `excluded` are tenants of the shard that are set aside (see quarantine).
    `is_doubted` tells that refreshes compare all rows, at the slower period, since capture missed a change.
    """

    signal: Signal
    refresh_id: int
    shard: Shard = WHOLE
    tenants: Sequence[str] | None = None
    after: str = START
    limit: int | None = None
    excluded: Sequence[str] = ()
    is_doubted: bool = False

    def period_s(self, settings: Settings, *, is_captured: bool = True) -> int:
        """Return the seconds until the next refresh."""
        return settings.period_s(self.signal.name, is_captured=is_captured and not self.is_doubted)


@dataclass(frozen=True, slots=True)
class Instant:
    """When a batch runs: the instant it answers for, and its fence number (R2a)."""

    as_of: datetime
    fence: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch did, and the place in the queue where the next one goes on."""

    result: RefreshResult
    last: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What the facts hold for: an instant, and the triggers that have marked every change since."""

    since: datetime
    capture: str


def refresh_batch(conn: Connection, order: Order, settings: Settings, instant: Instant) -> Batch:
    """Bring the answers of the order's tenants to `instant` and publish the difference, in the caller's transaction.

    The number of statements does not depend on the number of tenants.
    """
    stage.prepare(conn)
    capture = change_queue.fingerprint(conn, order.signal)
    since = fact_rules.hold_since(conn, order.signal, order.shard.slots, settings, (instant.as_of, capture))
    if order.tenants is not None:
        return Batch(_refresh_tenants(conn, order, settings, instant, keep=since is not None), START)
    if since is None or capture is None:
        return Batch(_refresh_all(conn, order, settings, instant, capture), START)
    return _refresh_changed(conn, order, settings, instant, _Known(since, capture))


def reconcile(conn: Connection, order: Order, settings: Settings, instant: Instant, next_fence: int) -> RefreshResult:
    """Refresh what changed, then compare every row with a full recompute of the same instant, and repair.

    The transaction must see one state of the source throughout (REPEATABLE READ). `drift` counts the tenants that had
    to be repaired; it is None where there was nothing to compare with.
    """
    first = refresh_batch(conn, replace(order, limit=None, after=START), settings, instant).result
    if first.method == "full":
        return first
    stage.prepare(conn)
    scope = Scope("every", order.shard, excluded=order.excluded)
    again = replace(instant, fence=next_fence)
    compute(conn, order.signal, scope, _parameters(order, settings, again), keep=True)
    publication = _publication(order, again, scope)
    repaired = publish(conn, publication, settings)
    confirm(conn, publication, settings, period_s=order.period_s(settings))
    return replace(repaired.after(first), drift=_drifted(conn, order.signal.name, next_fence))


def discard_marks(conn: Connection, order: Order) -> int:
    """Consume marks unread and return how many: the full recompute that must come next reads every row anyway."""
    stage.prepare(conn)
    fact_rules.invalidate(conn, order.signal, order.shard.slots)
    return change_queue.take(conn, order.signal, order.shard, limit=order.limit).marks


def must_read_all(conn: Connection, order: Order, settings: Settings, as_of: datetime) -> bool:
    """Tell whether it is not certain that every change since the facts were made is marked."""
    capture = change_queue.fingerprint(conn, order.signal)
    return fact_rules.hold_since(conn, order.signal, order.shard.slots, settings, (as_of, capture)) is None


def _refresh_changed(conn: Connection, order: Order, settings: Settings, instant: Instant, known: _Known) -> Batch:
    """Recompute whole what the marks and the clock name, and publish the tenants that it changes."""
    scope = Scope("changed", order.shard, excluded=order.excluded)
    taken = change_queue.take(conn, order.signal, order.shard, after=order.after, limit=order.limit)
    parameters = {**_parameters(order, settings, instant, only_changed=True), "since": known.since}
    clock = queries.load(order.signal.clock)
    conn.execute(clock.text, {name: parameters[name] for name in clock.params})
    scope.forget_excluded(conn)
    compute(conn, order.signal, scope, parameters, keep=True)
    publication = _publication(order, instant, scope)
    result = publish(conn, publication, settings)
    fact_rules.remember(conn, order.signal, order.shard.slots, settings, (instant.as_of, known.capture))
    is_last = order.limit is None or taken.marks < order.limit
    is_drained = is_last and order.after == START
    if is_drained:
        confirm(conn, publication, settings, period_s=order.period_s(settings))
    counted = replace(result, method="incremental", marks=taken.marks, is_drained=is_drained)
    return Batch(counted, START if is_last else taken.last)


def _refresh_all(
    conn: Connection, order: Order, settings: Settings, instant: Instant, capture: str | None
) -> RefreshResult:
    """Recompute every tenant of the shard; where changes are captured, the facts are made anew from here on."""
    scope = Scope("every", order.shard, excluded=order.excluded)
    taken = change_queue.take(conn, order.signal, order.shard)
    compute(conn, order.signal, scope, _parameters(order, settings, instant), keep=capture is not None)
    is_renewed = fact_rules.are_other(conn, order.signal, order.shard.slots, settings)
    publication = replace(_publication(order, instant, scope), is_renewed=is_renewed)
    result = publish(conn, publication, settings)
    if capture is None:
        fact_rules.forget(conn, order.signal, order.shard.slots)
    else:
        fact_rules.remember(conn, order.signal, order.shard.slots, settings, (instant.as_of, capture))
    confirm(conn, publication, settings, period_s=order.period_s(settings, is_captured=capture is not None))
    return replace(result, marks=taken.marks)


def _refresh_tenants(
    conn: Connection, order: Order, settings: Settings, instant: Instant, *, keep: bool
) -> RefreshResult:
    """Recompute the tenants that were asked for from their source rows; marks of theirs stay, and do no harm."""
    scope = Scope("tenants", order.shard, order.tenants)
    scope.note_tenants(conn)
    compute(conn, order.signal, scope, _parameters(order, settings, instant), keep=keep)
    return publish(conn, _publication(order, instant, scope), settings)


def _publication(order: Order, instant: Instant, scope: Scope) -> Publication:
    return Publication(order.signal, instant.as_of, instant.fence, order.refresh_id, scope)


def _parameters(order: Order, settings: Settings, instant: Instant, *, only_changed: bool = False) -> dict[str, object]:
    return order.signal.parameters(
        settings,
        instant.as_of,
        order.tenants,
        shard=order.shard,
        only_changed=only_changed,
        excluded=() if order.tenants is not None else order.excluded,
    )


def _drifted(conn: Connection, signal: str, fence: int) -> int:
    """Return how many tenants the full recompute changed: their facts, or what is published."""
    published = select(snapshot.c.tenant_id).where(snapshot.c.signal == signal, snapshot.c.fence == fence)
    noted = [select(table.c.tenant_id) for table in (stage.stage_tenant, stage.stage_changed_run)]
    drifted = union(published, *noted).subquery()
    return int(conn.execute(select(func.count()).select_from(drifted)).scalar_one())
