"""The goals of docs/performance.md that concern reading, and the ratios that they are held against."""

from __future__ import annotations

import operator
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.wrk import Load

    Round = Mapping[str, Load]


@dataclass(frozen=True, slots=True)
class ReadGoal:
    """One row of the table: what is measured, the figure's name, and how it compares with the limit."""

    what: str
    name: str
    is_met: Callable[[float, float], bool]
    limit: float


_AT_LEAST: Final = operator.ge
_AT_MOST: Final = operator.le

GOALS: Final = (
    ReadGoal("requests per second, snapshot / constant", "snapshot_to_constant", _AT_LEAST, 0.8),
    ReadGoal("99th percentile of latency, snapshot / constant", "p99_to_constant", _AT_MOST, 2),
    ReadGoal("requests per second, 304 / constant", "not_modified_to_constant", _AT_LEAST, 1),
    ReadGoal("requests per second, snapshot / live SQL, median tenant", "snapshot_to_live", _AT_LEAST, 1000),
    ReadGoal("requests per second, snapshot / live SQL, of median run", "busy_to_live", _AT_LEAST, 1000),
    ReadGoal("requests per second, snapshot / live SQL, tenants by runs", "tenants_to_live", _AT_LEAST, 1000),
    ReadGoal("memory of an API process, MB", "memory_mb", _AT_MOST, 80),
)


def ratios(rounds: Sequence[Round]) -> dict[str, float]:
    """Return the median over `rounds` of what each load makes of the constant one of the same round."""
    rates = {name: statistics.median(_rate(each, name) for each in rounds) for name in rounds[0] if name != "constant"}
    return {
        "snapshot_to_constant": rates["patterns"],
        "p99_to_constant": statistics.median(each["patterns"].p99_ms / each["constant"].p99_ms for each in rounds),
        "not_modified_to_constant": rates["not_modified"],
        **{f"{name}_to_constant": rate for name, rate in rates.items() if name not in {"patterns", "not_modified"}},
    }


def live_ratios(medians: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return how many snapshots are read in the time of one live answer: of two tenants, and of many drawn by runs."""
    rates = {name: each["per_second"] for name, each in medians.items()}
    return {
        "snapshot_to_live": rates["patterns"] / rates["live"],
        "busy_to_live": rates["busy"] / rates["live_busy"],
        "tenants_to_live": rates["drawn"] / rates["live_tenants"],
    }


def medians(rounds: Sequence[Round]) -> dict[str, dict[str, float]]:
    """Return the median over `rounds` of each load's rate and latencies."""
    return {
        name: {
            figure: statistics.median(getattr(each[name], figure) for each in rounds)
            for figure in ("per_second", "p50_ms", "p99_ms")
        }
        for name in rounds[0]
    }


def judged(figures: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return each goal that was measured, with its figure and whether it is met."""
    return [
        {
            "what": goal.what,
            "figure": figures[goal.name],
            "goal": goal.limit,
            "met": goal.is_met(figures[goal.name], goal.limit),
        }
        for goal in GOALS
        if goal.name in figures
    ]


def table(figures: Mapping[str, float]) -> Iterator[str]:
    """Yield one line per goal that was measured."""
    for row in judged(figures):
        yield f"{'met   ' if row['met'] else 'MISSED'} {row['figure']:8.2f} (goal {row['goal']}) {row['what']}"


def _rate(loads: Round, name: str) -> float:
    return loads[name].per_second / loads["constant"].per_second
