"""The signals: which queries make each of them, and with which parameters (R13)."""

from __future__ import annotations

from datetime import UTC, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sqlalchemy import column, func, select, table

from snapshots.body import DEFAULT_LIMIT, instant
from worker.engine import stage
from worker.engine.tables import (
    agent_cost,
    attention_fact,
    dirty_agent,
    dirty_run,
    dirty_trace,
    run_pattern,
    trace_fact,
)
from worker.signals import extras
from worker.signals.attention.weights import ATTENTION_WEIGHTS, WEIGHTS_VERSION
from worker.signals.spec import Kept, Keys, Movement, Queue, Signal, Step, plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from snapshots.settings import Settings

#: Rows per pattern and tenant (R13); part of the contract, as the window lengths below are.
PATTERN_ROWS: Final = 10
#: The formula of R15.
CONFIDENCE_VERSION: Final = "1.0"
COST_CURRENT: Final = timedelta(days=1)
COST_BASELINE: Final = timedelta(days=7)
#: A completed run stays in the attention queue for this long.
ATTENTION_COMPLETED: Final = timedelta(hours=24)
#: Items that are stored per tenant: a hundred for limits other than the default (R23), as many again so that a page
#: stays full however many of them are snoozed before the next publication, and one for each that is snoozed by then.
ATTENTION_ITEMS: Final = 200


def _pattern_thresholds(settings: Settings) -> dict[str, object]:
    return {
        "slow_step_ms": plain(settings.slow_step_ms),
        "retry_min_total": settings.retry_min_total,
        "oscillation_min_pairs": settings.oscillation_min_pairs,
        "loop_min_uses": settings.loop_min_uses,
        "loop_window_steps": settings.loop_window_steps,
        "cascade_min_steps": settings.cascade_min_steps,
    }


def _patterns_stated(settings: Settings) -> dict[str, object]:
    hours = {"window_hours": settings.pattern_window_hours}
    return {**hours, **_pattern_thresholds(settings), "exclude_synthetic": settings.exclude_synthetic}


def _pattern_start(settings: Settings, as_of: datetime) -> datetime:
    return as_of - timedelta(hours=settings.pattern_window_hours)


def _patterns_bound(settings: Settings, as_of: datetime) -> dict[str, object]:
    return {
        **_pattern_thresholds(settings),
        "window_start": _pattern_start(settings, as_of),
        "pattern_rows": PATTERN_ROWS,
        **extras.pattern_binds(),
        "confidence_version": CONFIDENCE_VERSION,
    }


def _patterns_window(settings: Settings, as_of: datetime) -> dict[str, str]:
    return {"start": instant(_pattern_start(settings, as_of)), "end": instant(as_of)}


def _cost_stated(settings: Settings) -> dict[str, object]:
    return {"z_threshold": plain(settings.cost_z_threshold), "exclude_synthetic": settings.exclude_synthetic}


def _cost_bound(settings: Settings, as_of: datetime) -> dict[str, object]:
    return {
        "current_start": as_of - COST_CURRENT,
        "baseline_start": as_of - COST_BASELINE,
        "baseline_dates": _midnights(as_of - COST_BASELINE, as_of - COST_CURRENT),
        "z_threshold": plain(settings.cost_z_threshold),
        **extras.cost_binds(settings),
    }


def _midnights(start: datetime, end: datetime) -> list[datetime]:
    """Return where dates begin between two instants, in UTC."""
    first = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [first + timedelta(days=number) for number in range(1, (end - start).days + 1)]


def _cost_window(_: Settings, as_of: datetime) -> dict[str, str]:
    """Return the spec's two literals and the exact bounds (R20); the baseline ends where the current day starts."""
    current_start = instant(as_of - COST_CURRENT)
    return {
        "current": "last_24h",
        "baseline": "7_day_average",
        "current_start": current_start,
        "current_end": instant(as_of),
        "baseline_start": instant(as_of - COST_BASELINE),
        "baseline_end": current_start,
    }


def _attention_stated(settings: Settings) -> dict[str, object]:
    return {
        "weights": ATTENTION_WEIGHTS,
        "abandoned_after_hours": settings.abandoned_after_hours,
        "hide_abandoned": settings.hide_abandoned,
        "exclude_synthetic": settings.exclude_synthetic,
    }


def _attention_bound(settings: Settings, as_of: datetime) -> dict[str, object]:
    return {
        **{f"{component}_weight": weight for component, weight in ATTENTION_WEIGHTS.items()},
        "weights_version": WEIGHTS_VERSION,
        "completed_since": as_of - ATTENTION_COMPLETED,
        "silent_since": as_of - timedelta(hours=settings.abandoned_after_hours),
        "hide_abandoned": settings.hide_abandoned,
        "item_limit": ATTENTION_ITEMS,
        "queue_limit": DEFAULT_LIMIT,
        # One that would be too old by the next refresh is rescored now (R26).
        "rescore_before": as_of - timedelta(seconds=max(0, settings.attention_rescore_s - settings.attention_period_s)),
    }


_CHANGED_RUNS: Final = Keys(stage.stage_changed_run, leading="run_id")
_TENANTS: Final = Keys(stage.stage_tenant, leading="tenant_id")

_TRACE_FACTS: Final = Kept(
    trace_fact, key=("trace_id",), changed=Keys(stage.stage_dirty_trace, leading="trace_id"), notes=_CHANGED_RUNS
)
_RUN_PATTERNS: Final = Kept(
    run_pattern,
    key=("run_id", "tenant_id", "pattern_type"),
    changed=_CHANGED_RUNS,
    notes=_TENANTS,
    reload="patterns/strongest",
)
_AGENT_COSTS: Final = Kept(
    agent_cost,
    key=("tenant_id", "agent_id"),
    changed=Keys(stage.stage_dirty_agent, leading="tenant_id"),
    notes=_TENANTS,
)
_ATTENTION_FACTS: Final = Kept(
    attention_fact,
    key=("run_id", "tenant_id"),
    changed=Keys(stage.stage_dirty_run, leading="run_id"),
    notes=_TENANTS,
)

#: A mark without a tenant is of the one that the trace has now; any shard may take that of a trace that is gone.
_SOURCE_TRACE: Final = table("source_trace", column("trace_id"), column("tenant_id"), schema="signals")
_PRESENT_TENANT: Final = (
    select(_SOURCE_TRACE.c.tenant_id)
    # In the collation of the source's index, which would not be used otherwise.
    .where(_SOURCE_TRACE.c.trace_id == dirty_trace.c.trace_id.collate("default"))
    .scalar_subquery()
)

_SOURCE_RUN: Final = table("source_run", column("tenant_id"), schema="signals")

_PATTERNS: Final = Signal(
    name="patterns",
    rule_version="1.0",
    steps=(
        Step("patterns/facts", stage.stage_trace_fact, kept=_TRACE_FACTS),
        Step("patterns/runs", stage.stage_run_pattern, kept=_RUN_PATTERNS),
        Step("patterns/items", stage.stage_pattern_item),
        Step("patterns/skills", stage.stage_pattern_skill),
        Step("patterns/content", stage.stage_content),
    ),
    item_stage=stage.stage_pattern_item,
    queue=Queue(
        dirty_trace, stage.stage_dirty_trace, tenant=func.coalesce(dirty_trace.c.tenant_id, _PRESENT_TENANT, "")
    ),
    clock="patterns/window_edges",
    probe="patterns/probe",
    sources=("source_trace", "source_step"),
    tenants=_SOURCE_TRACE,
    stated=_patterns_stated,
    bound=_patterns_bound,
    movement=Movement("patterns/identities"),
    window=_patterns_window,
    extras=extras.patterns_stated,
)
_COST: Final = Signal(
    name="cost",
    rule_version="1.0",
    steps=(
        Step("cost/agents", stage.stage_agent_cost, kept=_AGENT_COSTS),
        Step("cost/items", stage.stage_cost_item),
        Step("cost/content", stage.stage_content),
    ),
    item_stage=stage.stage_cost_item,
    queue=Queue(dirty_agent, stage.stage_dirty_agent, tenant=dirty_agent.c.tenant_id),
    clock="cost/window_edges",
    probe="cost/probe",
    sources=("source_run",),
    tenants=_SOURCE_RUN,
    stated=_cost_stated,
    bound=_cost_bound,
    # A mean moves with every run: a tenth of it is a change, half of it more is worse.
    movement=Movement("cost/identities", step=0.1, worse_by=0.5),
    window=_cost_window,
    extras=extras.cost_stated,
)
_ATTENTION: Final = Signal(
    name="attention",
    rule_version="1.0",
    steps=(
        Step("attention/facts", stage.stage_attention_fact, kept=_ATTENTION_FACTS),
        Step("attention/runs", stage.stage_attention_run),
        Step("attention/items", stage.stage_attention_item),
        Step("attention/content", stage.stage_content),
    ),
    item_stage=stage.stage_attention_item,
    queue=Queue(dirty_run, stage.stage_dirty_run, tenant=dirty_run.c.tenant_id),
    clock="attention/window_edges",
    probe="attention/probe",
    sources=("source_run",),
    tenants=_SOURCE_RUN,
    stated=_attention_stated,
    bound=_attention_bound,
    movement=Movement("attention/identities"),
    moves_with_clock=True,
)

SIGNALS: Final[Mapping[str, Signal]] = MappingProxyType({each.name: each for each in (_PATTERNS, _COST, _ATTENTION)})
