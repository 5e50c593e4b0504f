"""Sizing model: workers and shards for a load, computed from one machine's figures at scale S (docs/scaling.md).

Every formula is a function here; the text beside it in the documentation is the same formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from snapshots.signals import SIGNALS, SLOTS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds of the base load's changes that `Measured.tick_s` stands for.
TICK_S: Final = 86.4
#: Of a period, a refresh of one shard may take so much; of a worker's time, refreshes may take so much.
MOST_OF_PERIOD: Final = 0.5
MOST_OF_WORKER: Final = 0.5
RECONCILE_PERIOD_S: Final = 3600.0
#: A reconcile of a shard must end well before `statement_timeout`, seconds.
MOST_OF_RECONCILE_S: Final = 120.0
_MEGABYTE: Final = 2**20
_HEADINGS: Final = (
    *("load", "runs a day", "tenants", "shards", "longest refresh, s", "longest reconcile, s", "busy workers"),
    *("worker processes", "their connections", "schema `signals`, MB"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures that one machine measured at the base load; seconds, by signal.

    `fixed_s` is a refresh that finds nothing changed, `tick_s` one that finds `TICK_S` seconds of changes, `full_s` a
    comparison with a full recompute of everything; `bytes_per_run` is what schema signals keeps per run of the window.
    """

    runs_per_day: int
    tenants: int
    runs: int
    fixed_s: Mapping[str, float]
    tick_s: Mapping[str, float]
    full_s: Mapping[str, float]
    bytes_per_run: float


@dataclass(frozen=True, slots=True)
class Needed:
    """Resources for a load: shards, worker processes, their connections, and the size of our schema in MB."""

    times: int
    shards: int
    busy: float
    processes: int
    connections: int
    longest_refresh_s: float
    longest_reconcile_s: float
    schema_mb: float


def refresh_s(measured: Measured, signal: str, period_s: float, *, times: int, shards: int) -> float:
    """Return how long a refresh of one shard takes: the fixed part, and its share of a period's changes."""
    changes_s = max(0.0, measured.tick_s[signal] - measured.fixed_s[signal])
    return measured.fixed_s[signal] + times * changes_s * (period_s / TICK_S) / shards


def reconcile_s(measured: Measured, signal: str, *, times: int, shards: int) -> float:
    """Return how long a comparison of one shard takes."""
    return measured.fixed_s[signal] + times * measured.full_s[signal] / shards


def busy(measured: Measured, periods_s: Mapping[str, float], *, times: int, shards: int) -> float:
    """Return how many worker processes are busy on average."""
    ticks = sum(
        shards * refresh_s(measured, name, periods_s[name], times=times, shards=shards) / periods_s[name]
        for name in SIGNALS
    )
    full = sum(shards * reconcile_s(measured, name, times=times, shards=shards) for name in SIGNALS)
    return ticks + full / RECONCILE_PERIOD_S


def needed(measured: Measured, periods_s: Mapping[str, float], *, times: int) -> Needed:
    """Return what `times` the base load takes: with the fewest shards whose refreshes are short enough."""
    shards = 1
    while shards < SLOTS and not _is_short_enough(measured, periods_s, times=times, shards=shards):
        shards *= 2
    average = busy(measured, periods_s, times=times, shards=shards)
    processes = max(2, math.ceil(average / MOST_OF_WORKER))
    return Needed(
        times=times,
        shards=shards,
        busy=average,
        processes=processes,
        connections=2 * processes,
        longest_refresh_s=max(
            refresh_s(measured, name, periods_s[name], times=times, shards=shards) for name in SIGNALS
        ),
        longest_reconcile_s=max(reconcile_s(measured, name, times=times, shards=shards) for name in SIGNALS),
        schema_mb=times * measured.runs * measured.bytes_per_run / _MEGABYTE,
    )


def _is_short_enough(measured: Measured, periods_s: Mapping[str, float], *, times: int, shards: int) -> bool:
    load = {"times": times, "shards": shards}
    return all(
        refresh_s(measured, name, periods_s[name], **load) <= MOST_OF_PERIOD * periods_s[name]
        and reconcile_s(measured, name, **load) <= MOST_OF_RECONCILE_S
        for name in SIGNALS
    )


def table(measured: Measured, periods_s: Mapping[str, float], times: tuple[int, ...] = (1, 10, 100)) -> str:
    """Return a table in Markdown, one line per load."""
    lines = [
        f"| {' | '.join(_HEADINGS)} |",
        f"|{' --- |' * len(_HEADINGS)}",
        *(_line(measured, needed(measured, periods_s, times=number)) for number in times),
    ]
    return "\n".join(lines)


def _line(measured: Measured, need: Needed) -> str:
    load = f"{need.times} | {need.times * measured.runs_per_day:,} | {need.times * measured.tenants:,}"
    took = f"{need.longest_refresh_s:.2f} | {need.longest_reconcile_s:.1f} | {need.busy:.2f}"
    return f"| {load} | {need.shards} | {took} | {need.processes} | {need.connections} | {need.schema_mb:,.0f} |"
