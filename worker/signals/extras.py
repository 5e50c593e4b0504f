"""What is computed beside the definition, and with which parameters (R17, R22, R23)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from worker.signals.spec import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snapshots.settings import Settings

#: Steps at the start of a trace that are searched for a cycle: one trace of a million steps must not hold up a refresh.
CYCLE_MAX_STEPS: Final = 2_000
#: Skills that `by_skill` lists per tenant, and runs that it names of each.
SKILL_ROWS: Final = 20
SKILL_RUN_IDS: Final = 10
#: Runaway runs that are named per agent, the costliest first.
SPIKE_ROWS: Final = 5
#: Agents that fell silent, per tenant, those with the most runs in the baseline first.
SILENT_ROWS: Final = 100
#: Agents with a baseline that a tenant needs to be a reference for those without.
PEERS_MIN_AGENTS: Final = 3

#: How often a healthy agent is flagged, by runs of its baseline and of its current day: fractions, simulated outside of
#: the database by the formulas of both rules on lognormal costs of sigma 1 (benchmarks.verdicts asks the queries
#: themselves, at four of these sizes). A bucket holds from its number on.
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


def pattern_binds() -> dict[str, object]:
    """Return the binds of the pattern queries that bound what is searched and listed."""
    return {"cycle_max_steps": CYCLE_MAX_STEPS, "skill_rows": SKILL_ROWS, "skill_run_ids": SKILL_RUN_IDS}


def patterns_stated(_: Settings) -> Mapping[str, object]:
    """Return what the extra fields of the patterns were computed with."""
    return {"cycle_max_steps": CYCLE_MAX_STEPS}


def cost_binds(settings: Settings) -> dict[str, object]:
    """Return the binds of the cost queries for the robust verdict (R22)."""
    return {
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


def cost_stated(settings: Settings) -> Mapping[str, object]:
    """Return what the robust verdict was computed with."""
    return {
        "robust_score": plain(settings.cost_robust_score),
        "min_runs": settings.cost_robust_min_runs,
        "min_effect_percent": plain(settings.cost_min_effect_percent),
        "min_effect_usd": plain(settings.cost_min_effect_usd),
    }
