"""Plans of a tick, under EXPLAIN ANALYZE: changed keys of a tenant, and window edges."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import column, func, insert, select, table

from ops.plans.measuring import Finding, explain, now_of, refresh_limits, undone
from ops.plans.verdicts import judge
from worker.engine import queries, stage
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from ops.plans.census import Census
    from snapshots.settings import Settings
    from worker.signals.spec import SignalSpec

#: So many keys are taken for changed: about what a tick of a busy tenant finds.
MARKED: Final = 50


def tick_findings(
    engine: Engine, settings: Settings, name: str, tenant: str | None, census: Census
) -> Iterator[Finding]:
    """Yield the finding of what a tick of the signal reads, run twice: once for its rows, then warm for its plan.

    For a tenant, that is its newest keys, taken for changed; for all, what changed within a period without a mark.
    """
    signal = SIGNALS[name]
    with undone(engine, refresh_limits(settings)) as conn:
        stage.prepare(conn)
        as_of = now_of(conn)
        since = as_of - timedelta(seconds=settings.period_s(name))
        parameters = {**signal.parameters(settings, as_of, only_changed=True), "since": since}
        yield (
            _moved(conn, signal, parameters, census)
            if tenant is None
            else _changed(conn, signal, tenant, parameters, census)
        )


def _moved(conn: Connection, signal: SignalSpec, parameters: dict[str, object], census: Census) -> Finding:
    query = queries.load(signal.changes.window_edges)
    binds = {bind: parameters[bind] for bind in query.params}
    conn.execute(query.text, binds)
    plan = explain(conn, query.text, binds)
    rows = plan.rows_of(census.sources)
    return Finding(signal.changes.window_edges, None, rows, plan, judge(plan, census.crumbs("what time changed"), rows))


def _changed(
    conn: Connection, signal: SignalSpec, tenant: str, parameters: dict[str, object], census: Census
) -> Finding:
    step = signal.steps[0]
    query = queries.load(step.query)
    _mark(conn, signal, tenant)
    stage.fill(conn, query, step.stage, parameters)
    plan = explain(conn, query.text, {bind: parameters[bind] for bind in query.params})
    rows = plan.rows_of(census.sources)
    return Finding(f"{step.query}, changed", tenant, rows, plan, judge(plan, census.crumbs("what changed"), rows))


def _mark(conn: Connection, signal: SignalSpec, tenant: str) -> None:
    """Note the tenant's newest keys as changed, as its marks would."""
    names = [each.name for each in signal.changes.keys.columns]
    columns = dict.fromkeys([*names, "tenant_id", "started_at"])
    source = table(signal.sources[0], *map(column, columns), schema="signals")
    # A run without an agent is one of the agent `unknown`, as its trigger says.
    keys = (func.coalesce(source.c[name], "unknown").label(name) for name in names)
    newest = select(*keys).where(source.c.tenant_id == tenant).order_by(source.c.started_at.desc().nulls_last())
    marked = newest.limit(MARKED).subquery()
    conn.execute(insert(signal.changes.keys).from_select(names, select(*marked.c).distinct()))
