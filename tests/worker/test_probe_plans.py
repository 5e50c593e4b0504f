"""Cost of the sampled comparison: each sample reads a bounded number of rows, through indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from migrations import capture
from snapshots import settings
from tests.factories import AS_OF
from worker.engine import probe, queries, stage
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

SETTINGS = settings.load()
_RUNS = 40_000
_FILL = """
insert into runs (id, goal, tenant_id, agent_id, state, status, started_at, completed_at, estimated_cost_usd)
select
    'run-' || n, '', 'tenant-' || n % 50, 'agent-' || n % 1000, 'COMPLETED', 'succeeded',
    cast(:as_of as timestamptz) - n * interval '10 seconds',
    cast(:as_of as timestamptz) - n * interval '10 seconds', 1
from generate_series(1, :runs) as n;
insert into aos_traces (trace_id, run_id, tenant_id, started_at)
select 'trace-' || n, 'run-' || n, 'tenant-' || n % 50, cast(:as_of as timestamptz) - n * interval '1 second'
from generate_series(1, :runs / 2) as n;
insert into aos_trace_steps (trace_id, step_index, skill_id)
select 'trace-' || n, step, 'search' from generate_series(1, :runs / 2) as n, generate_series(0, 3) as step;
insert into aos_trace_steps (trace_id, step_index, skill_id)
select 'trace-1', step, 'search' from generate_series(4, 20000) as step;
analyze runs; analyze aos_traces; analyze aos_trace_steps
"""


@pytest.fixture
def crowded(engine: Engine) -> Engine:
    """Return an engine on a captured database with many runs, traces and steps, one trace of them long."""
    capture.install(engine)
    with engine.begin() as conn:
        conn.execute(text(_FILL), {"as_of": AS_OF, "runs": _RUNS})
    return engine


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in plan:
        yield plan
    for child in plan.get("Plans", ()):
        yield from scans(child)


def plan_of(conn: Connection, name: str) -> dict[str, Any]:
    """Return the plan of a signal's sample, executed."""
    signal = SIGNALS[name]
    stage.prepare(conn)
    query = queries.load(signal.changes.probe)
    parameters = {**signal.parameters(SETTINGS, AS_OF), **probe.sample(signal, 7)}
    binds = {param: parameters[param] for param in query.params}
    compiled = query.text.bindparams(**binds).compile(conn)
    explained = conn.exec_driver_sql(f"explain (analyze, format json) {compiled}", dict(compiled.params))
    plan: dict[str, Any] = explained.scalar_one()[0]["Plan"]
    return plan


def test_a_sample_reads_few_rows_however_many_there_are(crowded: Engine) -> None:
    for name in SIGNALS:
        with crowded.connect() as conn:
            plan = plan_of(conn, name)
        read = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans(plan)
        )
        sources = [node for node in scans(plan) if node["Relation Name"] in {"runs", "aos_traces", "aos_trace_steps"}]
        assert {node["Node Type"] for node in sources} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}, name
        assert (
            0 < read <= 3 * SIGNALS[name].changes.probe_rows * (1 if name == "attention" else probe.SAMPLE_SIZE + 1)
        ), name
