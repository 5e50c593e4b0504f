"""Judgement of measured goals, and charts with a line per series."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from benchmarks.goals import GOALS, judged, table
from benchmarks.plot import line_chart

_SCALE: dict[str, Any] = {
    "ratio": 9.0,
    "tick_to_sweep": 40.0,
    "tick_to_views": 12.0,
    "tick": {"sum": 0.2, "patterns": 0.1},
    "worker_memory_mb": 90.0,
    "inserts": {"batched": {"rate_ratio": 0.99}, "one_by_one": {"rate_ratio": 0.9}},
}


def test_goals_are_judged_for_the_scales_that_were_measured() -> None:
    assert [row["what"] for row in judged({"h": _SCALE})] == []
    assert len(judged({"s": _SCALE, "h": _SCALE, "m": _SCALE})) == len(GOALS)


def test_a_goal_that_was_missed_says_so() -> None:
    lines = list(table({"s": _SCALE, "m": _SCALE}))

    missed = [line for line in lines if line.startswith("MISSED")]
    assert len(missed) == 2
    assert "sweep / tick" in missed[0]
    assert "one by one" in missed[1]


def test_a_chart_is_well_formed_and_has_a_line_per_series() -> None:
    drawn = ET.fromstring(line_chart("Sizes <MB>", {"a": [(0, 0), (1, 2)], "b": [(0, 1), (1, 1)]}))  # noqa: S314  # our own text

    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 2
