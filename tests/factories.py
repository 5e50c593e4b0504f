"""Rows of the source tables, with named defaults: a test states what matters to it and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import column, insert, table

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The instant that tests compute for, unless they say otherwise.
AS_OF: Final = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)
TENANT: Final = "acme"

_numbers = count(1)

_RUN: Final = {
    "tenant_id": TENANT,
    "agent_id": "agent-1",
    "goal": "answer",
    "status": "succeeded",
    "state": "COMPLETED",
    "source": "agent",
    "provider_type": "anthropic",
    "risk_level": "NORMAL",
    "latency_bucket": "OK",
    "evidence_health": "FLOWING",
    "integrity_status": "VERIFIED",
    "incident_count": 0,
    "policy_draft_count": 0,
    "policy_violation": False,
    "is_synthetic": False,
    "started_at": AS_OF.replace(hour=11),
    "estimated_cost_usd": None,
}
_TRACE: Final = {"tenant_id": TENANT, "run_id": "run-1", "started_at": AS_OF.replace(hour=11), "is_synthetic": False}
_STEP: Final = {
    "skill_id": "search",
    "skill_name": "Search",
    "status": "succeeded",
    "outcome_category": "SUCCESS",
    "cost_cents": 0.0,
    "duration_ms": 100.0,
    "retry_count": 0,
    "timestamp": AS_OF.replace(hour=11),
}


def insert_run(conn: Connection, **overrides: Any) -> str:  # noqa: ANN401  # any column's value
    """Insert one run and return its id; a run completed an hour before AS_OF unless `overrides` say otherwise."""
    row = {"id": f"run-{next(_numbers)}", **_RUN, **overrides}
    _insert(conn, "runs", row)
    return str(row["id"])


def insert_trace(conn: Connection, **overrides: Any) -> str:  # noqa: ANN401  # any column's value
    """Insert one trace and return its trace_id; name its `run_id`."""
    row = {"trace_id": f"trace-{next(_numbers)}", **_TRACE, **overrides}
    _insert(conn, "aos_traces", row)
    return str(row["trace_id"])


def insert_step(conn: Connection, trace_id: str, step_index: int, **overrides: Any) -> None:  # noqa: ANN401  # any column's value
    """Insert the step at `step_index` of a trace."""
    _insert(conn, "aos_trace_steps", {"trace_id": trace_id, "step_index": step_index, **_STEP, **overrides})


def _insert(conn: Connection, name: str, row: dict[str, Any]) -> None:
    conn.execute(insert(table(name, *map(column, row), schema="public")).values(row))
