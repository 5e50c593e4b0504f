"""The writer contract: which columns each answer needs, who writes them and when, and what an empty one does to it.

One structure for the doctor's checks and for docs/writer-contract.md, whose table a test holds against it. Conditions
are SQL over a sample of the host's rows, in our names for its columns. Source: docs/specification-notes.md#host-schema,
docs/specification-notes.md#utc, docs/specification-notes.md#several-traces-per-run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ingest.vocabulary import WORDS


@dataclass(frozen=True, slots=True)
class Check:
    """Condition that makes a sample suspicious: that some row fulfils it, or, with `none`, that no row does."""

    condition: str
    found: str
    advice: str
    none: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the contract; of the `vital` ones an empty column leaves no answer at all."""

    id: str
    table: str
    columns: tuple[str, ...]
    needed_by: str
    written: str
    if_empty: str
    checks: tuple[Check, ...] = ()
    is_vital: bool = False
    may_be_empty: bool = False


def _unknown(column: str) -> Check:
    listed = ", ".join(WORDS[column])
    quoted = ", ".join(f"'{word}'" for word in WORDS[column])
    return Check(
        f"{column} is not null and {column} not in ({quoted})",
        f"{column} is none of {listed}",
        f"write one of {listed}: other values are kept, and match no rule",
    )


def _future(column: str) -> Check:
    return Check(
        f"{column} > clock_timestamp() + interval '5 minutes'",
        f"{column} is more than five minutes in the future",
        "set the writers' clocks, and write UTC: a naive column that holds local time looks like this",
    )


CONTRACT: Final = (
    Line(
        "runs.identity",
        "runs",
        ("id", "tenant_id"),
        "everything",
        "the writer, when the run is created",
        "a run without a tenant appears in no result",
        (
            Check(
                "tenant_id is null or tenant_id = ''",
                "the tenant is NULL or empty",
                "set tenant_id: such runs are read for no one",
            ),
        ),
        is_vital=True,
    ),
    Line(
        "runs.start",
        "runs",
        ("started_at",),
        "cost (current day), attention (recency), runs list",
        "the writer, when the run begins",
        "the run is in no current day of the cost analysis, and scores a recency of 0",
        (_future("started_at"),),
        is_vital=True,
    ),
    Line(
        "runs.completion",
        "runs",
        ("state", "completed_at"),
        "cost (baseline), attention (finished runs), summary by status, runs by dimension",
        "the writer, in one statement, when the run ends: state COMPLETED and the instant",
        "no baseline, so no cost anomaly; an empty summary; a run that ended stays LIVE, and stays in the queue",
        (
            _unknown("state"),
            Check(
                "state = 'COMPLETED'",
                "no run of the sample is COMPLETED",
                "have the writer set state and completed_at when a run ends",
                none=True,
            ),
            Check(
                "state = 'COMPLETED' and completed_at is null",
                "the run is COMPLETED and has no completed_at",
                "write completed_at with the state: without it the run is in no baseline and no queue",
            ),
            Check(
                "completed_at < started_at",
                "the run ended before it began",
                "take both instants from one clock",
            ),
            _future("completed_at"),
        ),
    ),
    Line(
        "runs.agent",
        "runs",
        ("agent_id",),
        "cost (per agent), runs by dimension",
        "the writer, when the run is created",
        "all such runs are one agent, `unknown`",
    ),
    Line(
        "runs.cost",
        "runs",
        ("estimated_cost_usd",),
        "cost",
        "the writer, by the end of the run; NULL when unknown, 0 when free",
        "the run is not in the cost analysis; with no cost at all that is empty",
        (
            Check(
                "estimated_cost_usd < 0 or not estimated_cost_usd between -1e150 and 1e150",
                "the cost is negative, NaN or infinite",
                "write a cost of 0 or more, or NULL; what is not finite is left out and counted",
            ),
        ),
    ),
    Line(
        "runs.heartbeat",
        "runs",
        ("last_seen_at",),
        "attention (abandoned)",
        "the writer, every minute or so while the run is LIVE",
        "the start time is used instead: a live run older than a day counts as abandoned",
        (_future("last_seen_at"),),
    ),
    Line(
        "runs.risk",
        "runs",
        ("risk_level",),
        "attention, summary by status (near threshold), runs by dimension",
        "the writer, whenever it changes: NORMAL, NEAR_THRESHOLD, AT_RISK, VIOLATED",
        "no risk in any score",
        (_unknown("risk_level"),),
    ),
    Line(
        "runs.latency",
        "runs",
        ("latency_bucket",),
        "attention",
        "the writer, whenever it changes: OK, SLOW, STALLED",
        "no latency in any score",
        (_unknown("latency_bucket"),),
    ),
    Line(
        "runs.evidence",
        "runs",
        ("evidence_health",),
        "attention",
        "the writer, whenever it changes: FLOWING, DEGRADED, MISSING",
        "no evidence in any score",
        (_unknown("evidence_health"),),
    ),
    Line(
        "runs.impact",
        "runs",
        ("policy_violation", "incident_count"),
        "attention",
        "the writer, whenever one happens",
        "no impact in any score",
    ),
    Line(
        "runs.status",
        "runs",
        ("status",),
        "summary by status",
        "the writer, whenever it changes; any word",
        "the run counts as `unknown`",
    ),
    Line(
        "runs.dimensions",
        "runs",
        ("provider_type", "source", "project_id", "is_synthetic"),
        "runs by dimension, filters of the runs list, ACTIVITY_EXCLUDE_SYNTHETIC",
        "the writer, when the run is created",
        "the run is in the bucket `unknown`, and counts as not synthetic",
        may_be_empty=True,
    ),
    Line(
        "runs.shown",
        "runs",
        ("duration_ms", "integrity_status", "policy_draft_count", "input_tokens", "output_tokens"),
        "runs list and run detail, where they are shown",
        "the writer, by the end of the run",
        "shown as null",
        may_be_empty=True,
    ),
    Line(
        "traces.identity",
        "aos_traces",
        ("trace_id", "run_id", "tenant_id"),
        "patterns, run detail",
        "the writer, when the trace is created; several traces may share a run",
        "a trace without a tenant appears in no result",
        (
            Check(
                "tenant_id is null or tenant_id = ''",
                "the tenant is NULL or empty",
                "set tenant_id: such traces are read for no one",
            ),
        ),
        is_vital=True,
    ),
    Line(
        "traces.start",
        "aos_traces",
        ("started_at",),
        "patterns (window)",
        "the writer, when the trace is created",
        "the trace is in no window: no pattern is found in it",
        (_future("started_at"),),
        is_vital=True,
    ),
    Line(
        "traces.kept",
        "aos_traces",
        ("is_synthetic", "archived_at"),
        "patterns",
        "the writer; archived_at when the trace is archived, which excludes it from every result",
        "every trace counts, as not synthetic",
        may_be_empty=True,
    ),
    Line(
        "steps.order",
        "aos_trace_steps",
        ("trace_id", "step_index"),
        "patterns, run detail",
        "the writer, once per step, numbered from 0; late steps are allowed, changes are not",
        "steps have no order, and repetitions cannot be detected",
        is_vital=True,
    ),
    Line(
        "steps.skill",
        "aos_trace_steps",
        ("skill_id",),
        "patterns: step_oscillation, tool_call_loop",
        "the writer, with the step",
        "no repetition of a skill is found; all such steps are one skill for tool_call_loop",
    ),
    Line(
        "steps.retries",
        "aos_trace_steps",
        ("retry_count",),
        "patterns: retry_loop",
        "the writer, with the step: the number of retries, 0 without retries",
        "no retry loop is found",
        (
            Check(
                "retry_count > 0",
                "no step of the sample was retried",
                "have the writer count retries, if it retries at all",
                none=True,
            ),
        ),
    ),
    Line(
        "steps.duration",
        "aos_trace_steps",
        ("duration_ms",),
        "patterns: timeout_cascade",
        "the writer, with the step, milliseconds",
        "no timeout cascade is found",
        (
            Check(
                "duration_ms < 0 or duration_ms >= 'Infinity' or duration_ms = '-Infinity'",
                "the duration is negative, NaN or infinite",
                "write milliseconds of 0 or more, or NULL; what is not finite is left out and counted",
            ),
        ),
    ),
    Line(
        "steps.shown",
        "aos_trace_steps",
        ("skill_name", "status", "outcome_category", "outcome_code", "cost_cents", "timestamp", "archived_at"),
        "run detail, where they are shown; archived_at excludes a step from every result",
        "the writer, with the step",
        "shown as null",
        may_be_empty=True,
    ),
)
