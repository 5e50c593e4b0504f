"""Attention signal: which runs need a person first, scored by risk, impact, latency, recency and evidence."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from snapshots.body import DEFAULT_LIMIT
from snapshots.errors import ActivityError
from snapshots.signal_catalogue import CATALOGUE
from worker.engine import stage
from worker.engine.tables import attention_fact, dirty_run
from worker.signals.spec import CHANGED_TENANTS, SOURCE_RUN, Fact, Incremental, Keys, Movement, SignalSpec, Step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from snapshots.settings import Settings

#: Part of the contract, not settings: change both together, and only as a new `weights_version`.
WEIGHTS_VERSION: Final = "1.0"
ATTENTION_WEIGHTS: Final = {
    "risk": 0.35,
    "impact": 0.25,
    "latency": 0.15,
    "recency": 0.15,
    "evidence": 0.10,
}
#: A completed run stays in the attention queue for this long.
COMPLETED_FOR: Final = timedelta(hours=24)
#: Items that are stored per tenant: a hundred for limits other than the default, as many again so that a page stays
#: full however many of them are snoozed before the next publication, and one for each that is snoozed by then.
STORED_ITEMS: Final = 200
_TOLERANCE: Final = 1e-9


class WeightsError(ActivityError):
    """The weights of the attention score do not add up to 1."""


def check_weights(weights: Mapping[str, float]) -> None:
    """Raise WeightsError unless `weights` add up to 1; an `assert` would vanish under -O."""
    total = math.fsum(weights.values())
    if not math.isclose(total, 1.0, abs_tol=_TOLERANCE):
        raise WeightsError(f"attention weights: add up to {total}; expected 1")


check_weights(ATTENTION_WEIGHTS)


def _query_parameters(settings: Settings, as_of: datetime) -> dict[str, object]:
    return {
        **{f"{component}_weight": weight for component, weight in ATTENTION_WEIGHTS.items()},
        "weights_version": WEIGHTS_VERSION,
        "completed_since": as_of - COMPLETED_FOR,
        "silent_since": as_of - timedelta(hours=settings.abandoned_after_hours),
        "hide_abandoned": settings.hide_abandoned,
        "item_limit": STORED_ITEMS,
        "queue_limit": DEFAULT_LIMIT,
        # A queue that would be too old by the next refresh is rescored now.
        "rescore_before": as_of - timedelta(seconds=max(0, settings.attention_rescore_s - settings.attention_period_s)),
    }


SPEC: Final = SignalSpec(
    definition=CATALOGUE["attention"],
    rule_version="1.0",
    steps=(
        Step(
            "attention/facts",
            stage.stage_attention_fact,
            fact=Fact(
                attention_fact,
                key=("run_id", "tenant_id"),
                changed=Keys(stage.stage_dirty_run, leading="run_id"),
                notes=CHANGED_TENANTS,
            ),
        ),
        Step("attention/runs", stage.stage_attention_run),
        Step("attention/items", stage.stage_attention_item),
        Step("attention/content", stage.stage_content),
    ),
    item_stage=stage.stage_attention_item,
    incremental=Incremental(
        queue=dirty_run,
        keys=stage.stage_dirty_run,
        tenant=dirty_run.c.tenant_id,
        window_edges="attention/window_edges",
        probe="attention/probe",
        probe_rows=100,
        sources=("source_run",),
    ),
    tenants=SOURCE_RUN,
    constants={"weights": ATTENTION_WEIGHTS},
    query_parameters=_query_parameters,
    movement=Movement("attention/identities"),
    moves_with_clock=True,
)
