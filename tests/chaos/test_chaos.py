"""A few faults against a whole installation; `python -m tests.chaos` runs all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.campaign import SHORT, Plan, run

if TYPE_CHECKING:
    from pathlib import Path

#: No fault begins later; those before it take at most a minute, on a machine that has nothing else to do.
LIMIT_S = 240.0
SEED = 1


def test_faults_show_no_reader_what_it_must_not_see(private_folder: Path) -> None:
    report = run(private_folder / "chaos", Plan(SHORT, SEED, LIMIT_S, is_full=False), print)

    assert report.violations == []
    assert report.counts["kills"] == 4
    assert {"200", "304"} <= set(report.counts["answers"])
