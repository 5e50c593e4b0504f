"""Random rows of the source tables, close to every edge of every window, and hostile."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from sqlalchemy import column, insert, table

from tests.factories import AS_OF

if TYPE_CHECKING:
    from sqlalchemy import Connection

TENANTS = ("acme", "beta")
_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)
#: What random rows are made of: instants on, beside and between the edges of every window.
_EDGES = [AS_OF - days * _DAY + ticks * _TICK for days in (0, 1, 7) for ticks in (-1, 0, 1)]
_MOMENTS = st.one_of(
    st.none(),
    st.sampled_from(_EDGES),
    st.integers(-9 * 86_400, 7_200).map(lambda seconds: AS_OF + timedelta(seconds=seconds, microseconds=seconds % 977)),
)
_STARTS = st.one_of(_MOMENTS, st.sampled_from(["-infinity", "infinity"]))
_COSTS = st.one_of(
    st.none(),
    st.sampled_from([0.0, 0.5, 0.5, 1.0, 4.2, 1e-6, math.nan, math.inf, -math.inf]),
    st.integers(0, 10**9).map(lambda units: units / 10**6),
)
_DURATIONS = st.one_of(
    st.none(),
    st.sampled_from([0.0, 4999.999, 5000.0, 5000.001, 60_000.0, math.nan, math.inf, -math.inf]),
    st.floats(0, 1e7, allow_nan=False),
)

_RUN = st.fixed_dictionaries(
    {
        "tenant_id": st.sampled_from([None, "", *TENANTS, *TENANTS]),
        "agent_id": st.sampled_from([None, "unknown", "a", "B", ""]),
        "state": st.sampled_from([None, "LIVE", "COMPLETED", "ODD"]),
        "status": st.sampled_from([None, "running", "succeeded", "halted", "odd"]),
        "started_at": _STARTS,
        "completed_at": _MOMENTS,
        "last_seen_at": _MOMENTS,
        "estimated_cost_usd": _COSTS,
        "risk_level": st.sampled_from([None, "NORMAL", "NEAR_THRESHOLD", "AT_RISK", "VIOLATED", "ODD"]),
        "latency_bucket": st.sampled_from([None, "OK", "SLOW", "STALLED", "ODD"]),
        "evidence_health": st.sampled_from([None, "FLOWING", "DEGRADED", "MISSING"]),
        "incident_count": st.sampled_from([None, 0, 1, -1]),
        "policy_violation": st.sampled_from([None, False, True]),
    }
)
#: A priced run near both windows: what makes baselines of one run, ties and deviations of 0 likely.
_PRICED_RUN = st.fixed_dictionaries(
    {
        "tenant_id": st.sampled_from(TENANTS),
        "agent_id": st.sampled_from([None, "unknown", "a"]),
        "started_at": st.sampled_from([AS_OF - _DAY, AS_OF - 2 * _DAY, AS_OF, AS_OF - _DAY / 2]),
        "completed_at": st.sampled_from([None, AS_OF - _DAY, AS_OF - _DAY - _TICK, AS_OF - 2 * _DAY]),
        "estimated_cost_usd": st.sampled_from([0.5, 0.5, 1.0, 4.2, 100.0]),
    }
)
RUNS = st.lists(st.one_of(_RUN, _PRICED_RUN), max_size=24)
_STEP = st.fixed_dictionaries(
    {
        "skill_id": st.sampled_from([None, "a", "a", "a", "B", "é"]),
        "retry_count": st.sampled_from([None, 0, 0, 1, 2, 3]),
        "duration_ms": _DURATIONS,
        "archived_at": st.sampled_from([None, None, None, AS_OF]),
    }
)
TRACE = st.fixed_dictionaries(
    {
        "tenant_id": st.sampled_from(["", *TENANTS, *TENANTS]),
        "run_id": st.sampled_from(["run-1", "run-2", "Run-3"]),
        "started_at": st.one_of(st.sampled_from(["-infinity", *_EDGES[:6]]), st.just(AS_OF - _DAY / 2)),
        "archived_at": st.sampled_from([None, None, None, AS_OF]),
        "steps": st.lists(_STEP, max_size=9),
        "stride": st.sampled_from([1, 1, 50]),
    }
)


def _insert(conn: Connection, name: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        names = {key for row in rows for key in row}
        target = table(name, *map(column, names), schema="public")
        conn.execute(insert(target).values([{key: row.get(key) for key in names} for row in rows]))


def insert_runs(conn: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert runs, named by their position."""
    _insert(conn, "runs", [{"id": f"run-{n}", "goal": "", **row} for n, row in enumerate(rows)])


def insert_traces(conn: Connection, traces: list[dict[str, Any]]) -> None:
    """Insert traces with their steps, named by their position."""
    rows = [{"trace_id": f"trace-{n}", **trace} for n, trace in enumerate(traces)]
    steps = [
        {"trace_id": row["trace_id"], "step_index": position * row["stride"], **step}
        for row in rows
        for position, step in enumerate(row.pop("steps"))
    ]
    for row in rows:
        del row["stride"]
    _insert(conn, "aos_traces", rows)
    _insert(conn, "aos_trace_steps", steps)
