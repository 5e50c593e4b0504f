"""Explain a pattern entry from its stored rows and present steps (docs/specification-notes.md#pattern-entries).

Source: docs/specification-notes.md#confidence, docs/specification-notes.md#non-finite-values-are-no-evidence.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import case, func, select

from api.queries.explain.wording import plain
from snapshots.items import pattern_item
from snapshots.source import tenant_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row, Select

#: Per pattern: base, slope, origin and ceiling of its confidence, and what it is made of.
CONFIDENCE: Final[Mapping[str, tuple[str, str, str, str, str]]] = {
    "retry_loop": ("0.80", "0.10", "3", "0.99", "avg_retries"),
    "step_oscillation": ("0.60", "0.10", "3", "0.95", "oscillation_count"),
    "tool_call_loop": ("0.70", "0.06", "3", "0.99", "loop_depth"),
    "timeout_cascade": ("0.60", "0.15", "2", "0.95", "slow_step_count"),
}
#: Per pattern: the count that its rule compares, the setting that it must reach, and what it counts.
RULES: Final[Mapping[str, tuple[str, str, str]]] = {
    "retry_loop": ("total_retries", "retry_min_total", "retries in the run"),
    "step_oscillation": ("oscillation_count", "oscillation_min_pairs", "back-to-back repetitions of the skill"),
    "tool_call_loop": ("loop_depth", "loop_min_uses", "uses of the skill in one trace"),
    "timeout_cascade": ("slow_step_count", "cascade_min_steps", "slow steps in the run"),
}


def stored(tenant_id: str, key: Mapping[str, Any]) -> Select[*tuple[Any, ...]]:
    """Return the entry's rows, the strongest first."""
    item = pattern_item.c
    of_entry = item.pattern_type == key["pattern_type"], item.skill_id.is_not_distinct_from(key["skill_id"])
    return select(pattern_item).where(item.tenant_id == tenant_id, *of_entry).order_by(item.rank)


def live(
    tenant_id: str, key: Mapping[str, Any], rows: Sequence[Row[Any]], parameters: Mapping[str, Any], as_of: datetime
) -> Select[*tuple[Any, ...]]:
    """Return the rule's count per run of the entry, over the window of `as_of`, of the steps as they are now."""
    step = tenant_step.c
    name = RULES[key["pattern_type"]][0]
    before = func.lag(step.skill_id).over(partition_by=step.trace_id, order_by=step.step_index)
    is_of_skill = step.skill_id.is_not_distinct_from(key["skill_id"])
    steps = (
        select(
            step.run_id,
            step.trace_id,
            step.retry_count,
            # PostgreSQL sorts NaN above infinity: what is not finite is no evidence.
            ((step.duration_ms > parameters["slow_step_ms"]) & (step.duration_ms < math.inf)).label("is_slow"),
            is_of_skill.label("is_of_skill"),
            (is_of_skill & (before == step.skill_id)).label("repeats"),
        )
        .where(
            step.tenant_id == tenant_id,
            step.run_id.in_([row.run_id for row in rows]),
            step.started_at.between(as_of - func.make_interval(0, 0, 0, 0, parameters["window_hours"]), as_of),
        )
        .subquery("step")
    )
    per_trace = (
        select(
            steps.c.run_id,
            func.sum(steps.c.retry_count).filter(steps.c.retry_count > 0).label("total_retries"),
            func.count().filter(steps.c.is_slow).label("slow_step_count"),
            func.count().filter(steps.c.repeats).label("oscillation_count"),
            func.count().filter(steps.c.is_of_skill).label("uses"),
        )
        .group_by(steps.c.run_id, steps.c.trace_id)
        .subquery("trace")
    )
    depth = func.least(func.max(per_trace.c.uses), parameters["loop_window_steps"])
    counts = {
        "total_retries": func.coalesce(func.sum(per_trace.c.total_retries), 0),
        "slow_step_count": func.sum(per_trace.c.slow_step_count),
        "oscillation_count": func.sum(per_trace.c.oscillation_count),
        "loop_depth": case((func.max(per_trace.c.uses) >= parameters["loop_min_uses"], depth), else_=0),
    }
    return (
        select(per_trace.c.run_id, counts[name].label("found"))
        .group_by(per_trace.c.run_id)
        .order_by(per_trace.c.run_id)
    )


def account(rows: Sequence[Row[Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs, thresholds and arithmetic of the stored rows."""
    pattern = rows[0].pattern_type
    name, setting, what = RULES[pattern]
    counts = {row.run_id: getattr(row, name) for row in rows}
    least = parameters[setting]
    thresholds = {setting: least, "window_hours": parameters["window_hours"]}
    if pattern == "timeout_cascade":
        thresholds["slow_step_ms"] = parameters["slow_step_ms"]
    sentences = [f"{run}: {count} {what} >= {least}" for run, count in counts.items()]
    return {
        "inputs": counts,
        "thresholds": thresholds,
        "arithmetic": [*sentences, _confidence(rows)],
        "evidence": [{"run_id": row.run_id, "rank": row.rank, name: getattr(row, name)} for row in rows],
        "value": rows[0].retry_count if pattern == "retry_loop" else counts[rows[0].run_id],
    }


def _confidence(rows: Sequence[Row[Any]]) -> str:
    base, slope, origin, ceiling, made_of = CONFIDENCE[rows[0].pattern_type]
    if made_of == "avg_retries":
        evidence = Decimal(sum(row.total_retries for row in rows)) / len(rows)
    else:
        evidence = Decimal(getattr(rows[0], made_of))
    found = Decimal(base) + Decimal(slope) * (evidence - Decimal(origin))
    bounded = max(Decimal("0.5"), min(Decimal(ceiling), found))
    return (
        f"confidence = {base} + {slope} x ({made_of} {plain(evidence)} - {origin}) = {plain(found)},"
        f" limited to 0.5 to {ceiling}: {plain(round(bounded, 2))}"
    )
