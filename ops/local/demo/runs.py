"""A run of the demo as rows in native form, as far as it has come at an instant."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ops.local.demo.scenarios import tell

if TYPE_CHECKING:
    from ops.local.demo.agents import Agent
    from ops.local.demo.scenarios import Course, Step

#: SLOW up to this multiple of the expected time, STALLED beyond (docs/specification-notes.md#derived-levels).
_SLOW_UP_TO: Final = 5
_SILENCE: Final = timedelta(seconds=120)

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class Run:
    """A run: who, when, and what happens in it (`ops.local.demo.scenarios`)."""

    run_id: str
    tenant: str
    agent: Agent
    started_at: datetime
    scenario: str


@dataclass(slots=True)
class Records:
    """Rows by table, as `ingest.files.load_rows.store` takes them."""

    runs: list[Record] = field(default_factory=list)
    traces: list[Record] = field(default_factory=list)
    steps: list[Record] = field(default_factory=list)

    def by_table(self) -> dict[str, list[Record]]:
        """Return them under the names of their tables."""
        return {"runs": self.runs, "aos_traces": self.traces, "aos_trace_steps": self.steps}


def add(records: Records, run: Run, as_of: datetime) -> None:
    """Add the rows of `run` as they stand at `as_of`; its steps appear when they are over, and never change."""
    course = tell(run.run_id, run.agent, run.scenario)
    trace_id = f"trace-{run.run_id}"
    records.runs.append(_run_row(run, course, as_of))
    records.traces.append(
        {
            "trace_id": trace_id,
            "run_id": run.run_id,
            "tenant_id": run.tenant,
            "agent_id": run.agent.agent_id,
            "started_at": run.started_at,
            "created_at": run.started_at,
            "is_synthetic": True,
        }
    )
    over = [step for step in course.recorded if _at(run, step.end_ms) <= as_of]
    records.steps.extend(_step_row(run, trace_id, index, step) for index, step in enumerate(over))


def latency_bucket(elapsed_ms: float, expected_ms: float, silence: timedelta | None) -> str:
    """Return OK, SLOW or STALLED; `silence` is the time since the last heartbeat of a LIVE run."""
    if elapsed_ms > _SLOW_UP_TO * expected_ms or (silence is not None and silence >= _SILENCE):
        return "STALLED"
    return "SLOW" if elapsed_ms > expected_ms else "OK"


def risk_level(row: Record) -> str:
    """Return the risk that follows from integrity, policy, latency, incidents and evidence."""
    if row["integrity_status"] == "FAILED" or row["policy_violation"]:
        return "VIOLATED"
    if row["latency_bucket"] == "STALLED" or row["integrity_status"] == "DEGRADED" or row["incident_count"]:
        return "AT_RISK"
    if row["latency_bucket"] == "SLOW" or row["evidence_health"] == "DEGRADED":
        return "NEAR_THRESHOLD"
    return "NORMAL"


def _run_row(run: Run, course: Course, as_of: datetime) -> Record:
    row: Record = {
        "run_id": run.run_id,
        "tenant_id": run.tenant,
        "agent_id": run.agent.agent_id,
        "goal": run.agent.goal,
        "project_id": run.agent.project_id,
        "source": run.agent.source,
        "provider_type": run.agent.provider_type,
        "started_at": run.started_at,
        "created_at": run.started_at,
        "expected_latency_ms": run.agent.expected_latency_ms,
        "is_synthetic": True,
        "synthetic_scenario_id": run.scenario,
    }
    row |= _completed(run, course) if _at(run, course.duration_ms) <= as_of else _live(run, course, as_of)
    return row | {"risk_level": risk_level(row)}


def _completed(run: Run, course: Course) -> Record:
    ended = _at(run, course.duration_ms)
    return {
        "state": "COMPLETED",
        "status": course.status,
        "last_seen_at": _last_seen(run, course, ended),
        "completed_at": ended,
        "duration_ms": course.duration_ms,
        "latency_bucket": latency_bucket(course.duration_ms, run.agent.expected_latency_ms, None),
        "evidence_health": course.evidence_health,
        "integrity_status": course.integrity_status,
        "incident_count": course.incident_count,
        "policy_draft_count": course.policy_draft_count,
        "policy_violation": course.is_violation,
        "input_tokens": course.input_tokens,
        "output_tokens": course.output_tokens,
        "estimated_cost_usd": course.cost_usd,
    }


def _live(run: Run, course: Course, as_of: datetime) -> Record:
    """Return what is known of a run before its end: neither what it costs nor how it was judged."""
    seen = _last_seen(run, course, as_of)
    elapsed_ms = (as_of - run.started_at) / timedelta(milliseconds=1)
    return {
        "state": "LIVE",
        "status": "running",
        "last_seen_at": seen,
        "completed_at": None,
        "duration_ms": None,
        "latency_bucket": latency_bucket(elapsed_ms, run.agent.expected_latency_ms, as_of - seen),
        "evidence_health": course.evidence_health,
        "integrity_status": "UNKNOWN",
        "incident_count": 0,
        "policy_draft_count": 0,
        "policy_violation": False,
        "input_tokens": None,
        "output_tokens": None,
        "estimated_cost_usd": None,
    }


def _step_row(run: Run, trace_id: str, index: int, step: Step) -> Record:
    return {
        "trace_id": trace_id,
        "step_index": index,
        "skill_id": step.skill,
        "skill_name": step.skill.replace("_", " ").capitalize(),
        "status": "failed" if step.is_failed else "succeeded",
        "outcome_category": "FAILURE" if step.is_failed else "SUCCESS",
        "outcome_code": "TIMEOUT" if step.is_failed else None,
        "cost_cents": step.cost_cents,
        "duration_ms": step.duration_ms,
        "retry_count": step.retry_count,
        "timestamp": _at(run, step.offset_ms),
        "is_synthetic": True,
    }


def _last_seen(run: Run, course: Course, as_of: datetime) -> datetime:
    return as_of if course.silent_from_ms is None else min(as_of, _at(run, course.silent_from_ms))


def _at(run: Run, offset_ms: float) -> datetime:
    return run.started_at + timedelta(milliseconds=offset_ms)
