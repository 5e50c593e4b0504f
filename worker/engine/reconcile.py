"""Comparison of facts and snapshots with the source: a sample at each tick, every row at a reconcile."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from psycopg2.errorcodes import SERIALIZATION_FAILURE
from sqlalchemy import func, select, union
from sqlalchemy.exc import DBAPIError

from snapshots.errors import sqlstate
from snapshots.tables import snapshot
from worker.engine import capture_trust, compute, probe, publish, quarantine, stage
from worker.engine.batch import at_now, refresh_batch
from worker.engine.errors import release
from worker.engine.limits import set_limits

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from worker.engine.context import RefreshContext, RefreshResult

_log = logging.getLogger(__name__)

#: How often a comparison begins that meets other refreshes at the counters of changes.
RECONCILE_TRIES: Final = 5


def check_facts(conn: Connection, context: RefreshContext, result: RefreshResult, *, is_full: bool) -> RefreshResult:
    """Compare a sample with the source; compare all rows where that is asked for or change capture is doubted."""
    if not is_full and not context.is_doubted:
        found = _sampled_losses(conn, context, result)
        if found == 0:
            return result
        context = replace(context, is_doubted=context.is_doubted or found is not None)
    compared = _reconcile_all(conn, context).after(result)
    if context.is_doubted:
        with conn.begin():
            capture_trust.settle(conn, context.spec, context.settings, compared)
    return compared


def _sampled_losses(conn: Connection, context: RefreshContext, result: RefreshResult) -> int | None:
    """Return how many sampled changes were not reported, and record the doubt; None where a sampled row breaks a query.

    The comparison of all rows then finds the row's tenant.
    """
    try:
        with conn.begin():
            set_limits(conn, context.settings)
            fence = publish.draw_fence(conn)[1]
            found = probe.unreported(conn, replace(context, as_of=result.as_of, fence=fence))
    except DBAPIError as ex:
        if not quarantine.is_of_data(ex):
            raise
        return None
    if found:
        _log.error("refresh signal=%s: capture did not report %d sampled changes", context.spec.name, found)
        with conn.begin():
            capture_trust.doubt(conn, context.spec, found)
    return found


def _reconcile_all(conn: Connection, context: RefreshContext, tries: int = RECONCILE_TRIES) -> RefreshResult:
    """Compare with a full recompute; tenants whose data breaks only that go into quarantine, the others are compared.

    It sees one state of all: where another signal's refresh has counted a tenant's changes since, it begins anew.
    """
    try:
        conn.execution_options(isolation_level="REPEATABLE READ")
        with conn.begin():
            set_limits(conn, context.settings)
            as_of, fence = publish.draw_fence(conn)
            result = reconcile(conn, replace(context, as_of=as_of, fence=fence), publish.draw_fence(conn)[1])
    except DBAPIError as ex:
        if sqlstate(ex) == SERIALIZATION_FAILURE and tries > 1:
            return _reconcile_all(conn, context, tries - 1)
        failed = quarantine.isolate(conn, at_now(conn, context), ex)
        release(ex)
        return _reconcile_all(conn, context.excluding(failed))
    return replace(result, tenants_failed=len(context.excluded))


def reconcile(conn: Connection, context: RefreshContext, next_fence: int) -> RefreshResult:
    """Refresh what changed, then compare every row with a full recompute of the same instant, and repair.

    The transaction must see one state of the source throughout (REPEATABLE READ). `drift` counts the tenants that had
    to be repaired; it is None where there was nothing to compare with.
    """
    first = refresh_batch(conn, context)
    if first.method == "full":
        return first
    stage.prepare(conn)
    again = replace(context, plan="full", fence=next_fence)
    compute.compute(conn, again, keeps=True)
    repaired = publish.publish(conn, again)
    publish.confirm(conn, again, period_s=again.period_s())
    published = select(snapshot.c.tenant_id).where(
        snapshot.c.signal == context.spec.name, snapshot.c.fence == next_fence
    )
    noted = [select(table.c.tenant_id) for table in (stage.stage_tenant, stage.stage_changed_run)]
    drift = conn.execute(select(func.count()).select_from(union(published, *noted).subquery())).scalar_one()
    return replace(repaired.after(first), drift=int(drift))
