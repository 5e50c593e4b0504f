"""Patterns signal: which runs are stuck in a retry loop, an oscillation, a tool-call loop or a timeout cascade."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from snapshots.body import instant
from snapshots.signal_catalogue import CATALOGUE
from worker.engine import stage
from worker.engine.tables import dirty_trace, run_pattern, trace_fact
from worker.signals.spec import CHANGED_TENANTS, SOURCE_TRACE, Fact, Incremental, Keys, Movement, SignalSpec, Step

if TYPE_CHECKING:
    from datetime import datetime

    from snapshots.settings import Settings

#: Rows per pattern and tenant; part of the contract.
PATTERN_ROWS: Final = 10
CONFIDENCE_VERSION: Final = "1.0"
#: Steps at the start of a trace that are searched for a cycle: one trace of a million steps must not hold up a refresh.
CYCLE_MAX_STEPS: Final = 2_000
#: Skills that `by_skill` lists per tenant, and runs that it names of each.
SKILL_ROWS: Final = 20
SKILL_RUN_IDS: Final = 10

_CHANGED_RUNS: Final = Keys(stage.stage_changed_run, leading="run_id")
#: A change event without a tenant belongs to the tenant that the trace has now; any shard may take that of a trace
#: that is gone.
_PRESENT_TENANT: Final = (
    select(SOURCE_TRACE.c.tenant_id)
    # In the collation of the source's index, which would not be used otherwise.
    .where(SOURCE_TRACE.c.trace_id == dirty_trace.c.trace_id.collate("default"))
    .scalar_subquery()
)


def _window_start(settings: Settings, as_of: datetime) -> datetime:
    return as_of - timedelta(hours=settings.pattern_window_hours)


def _query_parameters(settings: Settings, as_of: datetime) -> dict[str, object]:
    thresholds = SPEC.published_thresholds(settings)
    del thresholds["window_hours"]
    return {
        **thresholds,
        "window_start": _window_start(settings, as_of),
        "pattern_rows": PATTERN_ROWS,
        "cycle_max_steps": CYCLE_MAX_STEPS,
        "skill_rows": SKILL_ROWS,
        "skill_run_ids": SKILL_RUN_IDS,
        "confidence_version": CONFIDENCE_VERSION,
    }


SPEC: Final = SignalSpec(
    definition=CATALOGUE["patterns"],
    rule_version="1.0",
    steps=(
        Step(
            "patterns/facts",
            stage.stage_trace_fact,
            fact=Fact(
                trace_fact,
                key=("trace_id",),
                changed=Keys(stage.stage_dirty_trace, leading="trace_id"),
                notes=_CHANGED_RUNS,
            ),
        ),
        Step(
            "patterns/runs",
            stage.stage_run_pattern,
            fact=Fact(
                run_pattern,
                key=("run_id", "tenant_id", "pattern_type"),
                changed=_CHANGED_RUNS,
                notes=CHANGED_TENANTS,
                reload="patterns/strongest",
            ),
        ),
        Step("patterns/items", stage.stage_pattern_item),
        Step("patterns/skills", stage.stage_pattern_skill),
        Step("patterns/content", stage.stage_content),
    ),
    item_stage=stage.stage_pattern_item,
    incremental=Incremental(
        queue=dirty_trace,
        keys=stage.stage_dirty_trace,
        tenant=func.coalesce(dirty_trace.c.tenant_id, _PRESENT_TENANT, ""),
        window_edges="patterns/window_edges",
        probe="patterns/probe",
        probe_rows=10,
        sources=("source_trace", "source_step"),
    ),
    tenants=SOURCE_TRACE,
    query_parameters=_query_parameters,
    movement=Movement("patterns/identities"),
    window=lambda settings, as_of: {"start": instant(_window_start(settings, as_of)), "end": instant(as_of)},
    extra_constants={"cycle_max_steps": CYCLE_MAX_STEPS},
)
