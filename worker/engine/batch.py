"""One batch of a refresh, in one transaction: of what changed where that is certain, else of everything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from worker.engine import change_queue, compute, fact_rules, publish, stage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from worker.engine.context import Method, RefreshContext, RefreshResult


def refresh_batch(
    conn: Connection, context: RefreshContext, *, after: str | None = None, limit: int | None = None
) -> RefreshResult:
    """Recompute one batch, publish the difference and remember what the facts hold for, in the caller's transaction.

    Full unless it is certain that every change since the facts were made is in the queue. `after` and `limit` bound the
    change events that are taken. The number of statements does not depend on the number of tenants.
    """
    stage.prepare(conn)
    spec, slots, settings = context.spec, context.shard.slots, context.settings
    capture = change_queue.fingerprint(conn, spec)
    since = fact_rules.hold_since(conn, spec, slots, settings, (context.as_of, capture))
    taken = change_queue.NONE
    if context.tenants is not None:
        conn.execute(stage.stage_tenant.insert(), [{"tenant_id": tenant} for tenant in context.tenants])
        context = replace(context, plan="tenants")
    elif since is None or capture is None:
        is_renewed = fact_rules.are_other(conn, spec, slots, settings)
        context = replace(context, plan="full", is_renewed=is_renewed)
        taken = change_queue.take(conn, spec, context.shard)
    else:
        context = replace(context, plan="changed")
        taken = change_queue.take(conn, spec, context.shard, after=after, limit=limit)
        change_queue.take_window_edges(conn, context, since)
    keeps = since is not None if context.plan == "tenants" else capture is not None
    compute.compute(conn, context, keeps=keeps)
    result = replace(publish.publish(conn, context), marks=taken.marks)
    if context.plan == "tenants":
        return result
    if capture is None:
        fact_rules.forget(conn, spec, slots)
    else:
        fact_rules.remember(conn, spec, slots, settings, (context.as_of, capture))
    is_last = context.plan == "full" or limit is None or taken.marks < limit
    is_drained = context.plan == "full" or (is_last and after is None)
    if is_drained:
        publish.confirm(conn, context, period_s=context.period_s(is_captured=capture is not None))
    method: Method = "incremental" if context.plan == "changed" else "full"
    return replace(result, method=method, is_drained=is_drained, last=None if is_last else taken.last)


def at_now(conn: Connection, context: RefreshContext) -> RefreshContext:
    """Return the same refresh for the database's present instant, with a new fencing token."""
    with conn.begin():
        as_of, fence = publish.draw_fence(conn)
    return replace(context, as_of=as_of, fence=fence)
