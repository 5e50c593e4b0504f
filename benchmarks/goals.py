"""The goals of docs/performance.md that concern refresh, held against what was measured."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Goal:
    """One row of the table: what is measured, the scales it needs, and how the figure compares with the limit."""

    what: str
    scales: tuple[str, ...]
    figure: Callable[[Figures], float]
    is_met: Callable[[float, float], bool]
    limit: float


_AT_LEAST: Final = operator.ge
_AT_MOST: Final = operator.le

GOALS: Final = (
    Goal("full refresh, sweep / refresh", ("m",), lambda of: of["m"]["ratio"], _AT_LEAST, 8),
    Goal("tick, sweep / tick", ("m",), lambda of: of["m"]["tick_to_sweep"], _AT_LEAST, 50),
    Goal("tick, views refreshed concurrently / tick", ("m",), lambda of: of["m"]["tick_to_views"], _AT_LEAST, 10),
    Goal(
        "tick at 10 times the history / tick",
        ("s", "h"),
        lambda of: of["h"]["tick"]["sum"] / of["s"]["tick"]["sum"],
        _AT_MOST,
        1.1,
    ),
    Goal(
        "patterns of the tick at 10 times the window / patterns of the tick",
        ("s", "m"),
        lambda of: of["m"]["tick"]["patterns"] / of["s"]["tick"]["patterns"],
        _AT_MOST,
        1.5,
    ),
    Goal(
        "inserts in batches, rate with capture / without",
        ("s",),
        lambda of: of["s"]["inserts"]["batched"]["rate_ratio"],
        _AT_LEAST,
        0.95,
    ),
    Goal(
        "inserts one by one, rate with capture / without",
        ("s",),
        lambda of: of["s"]["inserts"]["one_by_one"]["rate_ratio"],
        _AT_LEAST,
        0.95,
    ),
    Goal("memory of a worker process at S, MB", ("s",), lambda of: of["s"]["worker_memory_mb"], _AT_MOST, 120),
    Goal("memory of a worker process at M, MB", ("m",), lambda of: of["m"]["worker_memory_mb"], _AT_MOST, 120),
)


def judged(figures: Figures) -> list[dict[str, Any]]:
    """Return each goal whose scales were measured, with its figure and whether it is met."""
    possible = [goal for goal in GOALS if set(goal.scales) <= set(figures)]
    return [
        {"what": goal.what, "figure": goal.figure(figures), "goal": goal.limit, "met": _is_met(goal, figures)}
        for goal in possible
    ]


def table(figures: Figures) -> Iterator[str]:
    """Yield one line per goal whose scales were measured."""
    for row in judged(figures):
        yield f"{'met   ' if row['met'] else 'MISSED'} {row['figure']:8.2f} (goal {row['goal']}) {row['what']}"


def _is_met(goal: Goal, figures: Figures) -> bool:
    return goal.is_met(goal.figure(figures), goal.limit)
