"""Running the statements under EXPLAIN ANALYZE as the product runs them, in transactions that are rolled back."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from ops.plans import plans
from ops.plans.queries import LIVE_REQUESTS, live_statement
from ops.plans.verdicts import judge, judge_spills
from snapshots.source import TENANT_SETTING
from worker.engine import queries, stage
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import Connection, Engine, Executable

    from ops.plans.census import Census
    from ops.plans.plans import Plan
    from ops.plans.verdicts import Verdict
    from snapshots.settings import Settings

#: Without a clock reading per row and node, which would count as time of the query.
_EXPLAIN: Final = "explain (analyze, buffers, timing off, format json) "


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement, explained for a tenant or, where that is None, for all.

    `rows` are the source rows it stands for: those that its scans returned or, where it reads staged rows alone, those
    that its signal has read before it.
    """

    query: str
    tenant: str | None
    rows: int
    plan: Plan
    verdict: Verdict


def signal_findings(
    engine: Engine, settings: Settings, name: str, tenant: str | None, census: Census
) -> Iterator[Finding]:
    """Yield a finding per step of the signal, each run twice: once for its rows, then warm for its plan."""
    signal, read_so_far = SIGNALS[name], 0
    with undone(engine, refresh_limits(settings)) as conn:
        parameters = signal.parameters(settings, now_of(conn), None if tenant is None else [tenant])
        for step in signal.steps:
            stage.empty(conn, step.stage)
            query = queries.load(step.query)
            stage.fill(conn, query, step.stage, parameters)
            plan = explain(conn, query.text, {bind: parameters[bind] for bind in query.params})
            read_so_far = plan.rows_of(census.sources) or read_so_far
            yield _found(step.query, tenant, read_so_far, plan, census)


def live_findings(engine: Engine, settings: Settings, tenant: str, census: Census) -> Iterator[Finding]:
    """Yield a finding per live request of a caller of `tenant`, each run twice, the second time for its plan."""
    scope = {
        TENANT_SETTING: tenant,
        "statement_timeout": _timeout(settings),
        "transaction_read_only": "on",
    }
    for request in LIVE_REQUESTS:
        statement = live_statement(request, tenant, settings)
        with undone(engine, scope) as conn:
            conn.execute(statement).all()
            plan = explain(conn, statement, {})
        yield _found(request, tenant, plan.rows_of(census.sources), plan, census)


def explain(conn: Connection, statement: Executable, binds: Mapping[str, object]) -> Plan:
    """Run `statement` under EXPLAIN ANALYZE, as the text that the driver would send, and return its plan."""
    compiled = statement.compile(dialect=conn.dialect, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]  # every statement of ours is a ClauseElement
    found = conn.exec_driver_sql(_EXPLAIN + str(compiled), compiled.construct_params(binds))
    return plans.read(found.scalar_one()[0])


def _found(query: str, tenant: str | None, rows: int, plan: Plan, census: Census) -> Finding:
    verdict = judge_spills(plan) if tenant is None else judge(plan, census.extents(tenant), rows)
    return Finding(query, tenant, rows, plan, verdict)


def refresh_limits(settings: Settings) -> Mapping[str, str]:
    """Return what a refresh's transaction is held to, by setting of the server."""
    return {
        "statement_timeout": _timeout(settings),
        "work_mem": f"{settings.refresh_work_mem_mb}MB",
        # A refresh inserts what it selects, and such a statement is never parallel.
        "max_parallel_workers_per_gather": "0",
    }


def _timeout(settings: Settings) -> str:
    return f"{settings.refresh_timeout_s}s"


@contextmanager
def undone(engine: Engine, limits: Mapping[str, str]) -> Iterator[Connection]:
    """Yield a connection in a transaction under `limits` that leaves nothing behind."""
    with engine.connect() as conn:
        conn.execute(select(*(func.set_config(name, value, True) for name, value in limits.items())))  # noqa: FBT003  # set_config's own third position
        try:
            yield conn
        finally:
            conn.rollback()


def now_of(conn: Connection) -> datetime:
    """Return the database's present."""
    now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    return now
