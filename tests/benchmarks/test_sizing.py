"""The formulas of docs/scaling.md, on numbers that can be followed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from benchmarks.sizing import Measured, busy, needed, reconcile_s, refresh_s, table
from snapshots.signals import SIGNALS

PERIODS: Final = dict.fromkeys(SIGNALS, 60.0)
#: Nothing changed 0.1 s, a day's thousandth of changes 0.1 s more, everything anew 36 s.
MEASURED: Final = Measured(
    runs_per_day=10_000,
    tenants=100,
    runs=80_000,
    fixed_s=dict.fromkeys(SIGNALS, 0.1),
    tick_s=dict.fromkeys(SIGNALS, 0.2),
    full_s=dict.fromkeys(SIGNALS, 36.0),
    bytes_per_run=1024,
)


def test_a_refresh_takes_a_fixed_part_and_a_share_of_the_changes() -> None:
    assert refresh_s(MEASURED, "cost", 86.4, times=1, shards=1) == pytest.approx(0.2)
    assert refresh_s(MEASURED, "cost", 86.4, times=100, shards=4) == pytest.approx(0.1 + 100 * 0.1 / 4)
    assert reconcile_s(MEASURED, "cost", times=2, shards=4) == pytest.approx(0.1 + 18)


def test_more_shards_cost_their_fixed_part() -> None:
    one, four = (busy(MEASURED, PERIODS, times=1, shards=shards) for shards in (1, 4))

    ticks, reconciles = 3 * 3 * 0.1 / 60, 3 * 3 * 0.1 / 3600
    assert four - one == pytest.approx(ticks + reconciles)


def test_the_shards_are_the_fewest_whose_refreshes_are_short_enough() -> None:
    found = {times: needed(MEASURED, PERIODS, times=times).shards for times in (1, 3, 4, 100)}

    assert found == {1: 1, 3: 1, 4: 2, 100: 32}


def test_processes_leave_half_of_their_time_and_are_never_fewer_than_two() -> None:
    small, large = (needed(MEASURED, PERIODS, times=times) for times in (1, 100))

    assert (small.processes, small.connections) == (2, 4)
    assert large.processes == pytest.approx(2 * large.busy, abs=1)
    assert large.schema_mb == pytest.approx(100 * 80_000 / 1024)


def test_a_refresh_that_found_less_than_nothing_counts_as_nothing() -> None:
    noisy = replace(MEASURED, tick_s=dict.fromkeys(SIGNALS, 0.05))

    assert refresh_s(noisy, "cost", 60, times=100, shards=1) == 0.1


def test_the_table_has_a_line_per_load() -> None:
    lines = table(MEASURED, PERIODS).splitlines()

    assert len(lines) == 2 + 3
    assert lines[-1].startswith("| 100 | 1,000,000 | 10,000 | 32 |")
