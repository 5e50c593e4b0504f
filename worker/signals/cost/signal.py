"""Cost signal: which agents cost more in the last 24 hours than in the six days before, by two rules."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from snapshots.body import instant
from snapshots.signal_catalogue import CATALOGUE
from worker.engine import stage
from worker.engine.tables import agent_cost, dirty_agent
from worker.signals.spec import CHANGED_TENANTS, SOURCE_RUN, Fact, Incremental, Keys, Movement, SignalSpec, Step, plain

if TYPE_CHECKING:
    from datetime import datetime

    from snapshots.settings import Settings

#: Window lengths of the contract.
CURRENT: Final = timedelta(days=1)
BASELINE: Final = timedelta(days=7)
#: Runaway runs that are named per agent, the costliest first.
SPIKE_ROWS: Final = 5
#: Agents that fell silent, per tenant, those with the most baseline runs first.
SILENT_ROWS: Final = 100
#: Agents with a baseline that a tenant needs to be a reference for those without.
PEERS_MIN_AGENTS: Final = 3

#: How often a healthy agent is flagged, by its baseline runs and its runs of the current day: fractions, simulated by
#: the formulas of both rules on lognormal costs of sigma 1. A bucket holds from its number on.
FLAG_RATE_BASELINES: Final = (1, 2, 5, 10, 20, 50, 100, 300)
FLAG_RATE_CURRENTS: Final = (1, 2, 5, 10, 20, 50)
SPEC_FLAG_RATES: Final = (
    (0.492, 0.567, 0.612, 0.653, 0.664, 0.682),
    (0.328, 0.370, 0.403, 0.433, 0.445, 0.457),
    (0.177, 0.191, 0.199, 0.188, 0.190, 0.187),
    (0.121, 0.099, 0.088, 0.074, 0.061, 0.049),
    (0.083, 0.079, 0.045, 0.029, 0.019, 0.011),
    (0.066, 0.048, 0.025, 0.008, 0.003, 0.001),
    (0.051, 0.034, 0.014, 0.006, 0.002, 0.000),
    (0.041, 0.032, 0.006, 0.004, 0.000, 0.000),
)
ROBUST_FLAG_RATES: Final = (
    (0.000, 0.000, 0.000, 0.000, 0.000, 0.000),
    (0.000, 0.000, 0.000, 0.000, 0.000, 0.000),
    (0.000, 0.000, 0.000, 0.000, 0.000, 0.000),
    (0.000, 0.000, 0.000, 0.000, 0.000, 0.000),
    (0.004, 0.006, 0.012, 0.019, 0.037, 0.088),
    (0.000, 0.001, 0.004, 0.003, 0.008, 0.020),
    (0.000, 0.000, 0.002, 0.003, 0.003, 0.008),
    (0.000, 0.000, 0.000, 0.001, 0.001, 0.002),
)


def _query_parameters(settings: Settings, as_of: datetime) -> dict[str, object]:
    return {
        "current_start": as_of - CURRENT,
        "baseline_start": as_of - BASELINE,
        "baseline_dates": _midnights(as_of - BASELINE, as_of - CURRENT),
        "z_threshold": plain(settings.cost_z_threshold),
        "robust_score": settings.cost_robust_score,
        "robust_min_baseline": settings.cost_robust_min_runs,
        "robust_min_ratio": 1 + settings.cost_min_effect_percent / 100,
        "min_effect_usd": settings.cost_min_effect_usd,
        "spike_rows": SPIKE_ROWS,
        "silent_rows": SILENT_ROWS,
        "peers_min_agents": PEERS_MIN_AGENTS,
        "spec_flag_rates": [list(row) for row in SPEC_FLAG_RATES],
        "robust_flag_rates": [list(row) for row in ROBUST_FLAG_RATES],
        "flag_rate_baselines": list(FLAG_RATE_BASELINES),
        "flag_rate_currents": list(FLAG_RATE_CURRENTS),
    }


def _midnights(start: datetime, end: datetime) -> list[datetime]:
    """Return the starts of the UTC dates between two instants."""
    first = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [first + timedelta(days=number) for number in range(1, (end - start).days + 1)]


def _window(_: Settings, as_of: datetime) -> dict[str, str]:
    """Return the specification's two literals and the exact bounds; the baseline ends where the current day starts."""
    current_start = instant(as_of - CURRENT)
    return {
        "current": "last_24h",
        "baseline": "7_day_average",
        "current_start": current_start,
        "current_end": instant(as_of),
        "baseline_start": instant(as_of - BASELINE),
        "baseline_end": current_start,
    }


SPEC: Final = SignalSpec(
    definition=CATALOGUE["cost"],
    rule_version="1.0",
    steps=(
        Step(
            "cost/agents",
            stage.stage_agent_cost,
            fact=Fact(
                agent_cost,
                key=("tenant_id", "agent_id"),
                changed=Keys(stage.stage_dirty_agent, leading="tenant_id"),
                notes=CHANGED_TENANTS,
            ),
        ),
        Step("cost/items", stage.stage_cost_item),
        Step("cost/content", stage.stage_content),
    ),
    item_stage=stage.stage_cost_item,
    incremental=Incremental(
        queue=dirty_agent,
        keys=stage.stage_dirty_agent,
        tenant=dirty_agent.c.tenant_id,
        window_edges="cost/window_edges",
        probe="cost/probe",
        probe_rows=10,
        sources=("source_run",),
    ),
    tenants=SOURCE_RUN,
    query_parameters=_query_parameters,
    # A mean moves with every run: a tenth of it is a change, half of it more is worse.
    movement=Movement("cost/identities", step=0.1, worse_by=0.5),
    window=_window,
    is_item=stage.stage_cost_item.c.run_count > 0,
)
