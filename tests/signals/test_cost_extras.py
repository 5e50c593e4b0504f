"""Extra fields of the cost analysis (docs/specification-notes.md#robust-cost-verdict)."""

from __future__ import annotations

import json
import math
import statistics
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from snapshots.settings import load
from tests.factories import AS_OF, TENANT, insert_run
from worker.engine.compute import stage_signal
from worker.engine.stage import stage_content
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from snapshots.settings import Settings

_PAST: dict[str, Any] = {"started_at": AS_OF - timedelta(days=3), "completed_at": AS_OF - timedelta(days=3)}


def _content(conn: Connection, settings: Settings) -> dict[str, Any]:
    stage_signal(conn, SIGNALS["cost"], settings, AS_OF)
    found = select(stage_content.c.content).where(stage_content.c.tenant_id == TENANT)
    return dict(json.loads(conn.execute(found).scalar_one()))


def _agent(conn: Connection, settings: Settings, agent: str = "agent-1") -> dict[str, Any]:
    return next(each for each in _content(conn, settings)["agents"] if each["agent_id"] == agent)


def _runs(conn: Connection, costs: Sequence[object], agent: str = "agent-1", **values: Any) -> list[str]:  # noqa: ANN401  # any column's value
    return [insert_run(conn, agent_id=agent, estimated_cost_usd=cost, **values) for cost in costs]


def _lognormal(seed: int, count: int, scale: float = 1.0) -> list[float]:
    rng = Random(seed)  # noqa: S311  # costs, not secrets
    return [round(scale * math.exp(rng.gauss(0, 1)), 6) for _ in range(count)]


def _oracle(baseline: list[float], current: list[float]) -> tuple[float, float, float]:
    """Return median, ratio and score by the formula (docs/specification-notes.md#robust-cost-verdict)."""
    logs, todays = [math.log(cost) for cost in baseline], [math.log(cost) for cost in current]
    center, today = statistics.median(logs), statistics.median(todays)
    mad = statistics.median([abs(log - center) for log in logs])
    score = (today - center) / (1.4826 * mad * 1.2533 / math.sqrt(len(current)))
    return math.exp(center), math.exp(today - center), score


_COSTS = st.floats(0.001, 1000).map(lambda cost: round(cost, 6))


def test_the_score_is_that_of_the_formula(conn: Connection, defaults: Settings) -> None:
    @given(st.lists(_COSTS, min_size=20, max_size=40, unique=True), st.lists(_COSTS, min_size=1, max_size=9))
    def compare(baseline: list[float], current: list[float]) -> None:
        savepoint = conn.begin_nested()
        _runs(conn, baseline, **_PAST)
        _runs(conn, current)
        robust = _agent(conn, defaults)["robust"]
        median, ratio, score = _oracle(baseline, current)
        assert robust["median_usd"] == pytest.approx(median, rel=1e-9, abs=1e-8)
        assert robust["ratio"] == pytest.approx(ratio, rel=1e-9, abs=1e-4)
        assert robust["score"] == pytest.approx(score, rel=1e-9, abs=1e-4)
        assert robust["effect_usd"] == pytest.approx((ratio - 1) * median * len(current), rel=1e-6, abs=1e-7)
        assert (robust["n_baseline"], robust["n_current"]) == (len(baseline), len(current))
        savepoint.rollback()

    compare()


@pytest.mark.parametrize(
    ("baseline", "current", "verdict", "reason"),
    [
        ([], [1], "cold_start", "no_baseline"),
        ([0] * 30, [1], "cold_start", "no_baseline"),
        ([1] * 19, [9], "insufficient_data", "few_baseline_runs"),
        (_lognormal(1, 60), [0, 0], "insufficient_data", "no_priced_run"),
        (_lognormal(1, 60), _lognormal(2, 30), "normal", "within_variation"),
        (_lognormal(1, 60), _lognormal(2, 30, 8), "anomaly", "costlier"),
        (_lognormal(1, 60), _lognormal(2, 30, 0.1), "saver", "cheaper"),
        ([1, 1.01, 0.99] * 10, [1.3] * 9, "normal", "small_ratio"),
        ([1] * 30, [1.6] * 2, "anomaly", "costlier"),
        ([1] * 30, [1], "normal", "small_ratio"),
        ([1] * 29 + [2], [1.6] * 2, "anomaly", "costlier"),
    ],
)
def test_each_verdict_has_its_reason(
    conn: Connection, baseline: list[float], current: list[float], verdict: str, reason: str
) -> None:
    _runs(conn, baseline, **_PAST)
    _runs(conn, current)

    content = _content(conn, load())
    robust = content["agents"][0]["robust"]

    assert (robust["verdict"], robust["reason"]) == (verdict, reason)
    assert content["savers"] == (["agent-1"] if verdict == "saver" else [])


def test_without_a_median_deviation_the_mean_one_is_taken(conn: Connection, defaults: Settings) -> None:
    baseline = [1.0] * 29 + [2.0]
    _runs(conn, baseline, **_PAST)
    _runs(conn, [1.6, 1.6])

    robust = _agent(conn, defaults)["robust"]

    scale = 1.253314 * math.log(2) / 30
    assert robust["method"] == "log_median_mean_ad"
    assert robust["score"] == pytest.approx(math.log(1.6) / (scale * 1.2533 / math.sqrt(2)), abs=1e-4)


def test_a_constant_cost_has_no_score(conn: Connection, defaults: Settings) -> None:
    _runs(conn, [1] * 30, **_PAST)
    _runs(conn, [2])

    robust = _agent(conn, defaults)["robust"]

    assert (robust["method"], robust["score"], robust["verdict"]) == ("log_median", None, "anomaly")


def test_the_least_effects_are_settings(conn: Connection) -> None:
    _runs(conn, [1] * 30, **_PAST)
    _runs(conn, [2] * 3)

    reasons = [
        _agent(conn, load(**{f"cost_min_effect_{unit}": value}))["robust"]["reason"]
        for unit, value in (("usd", 2.9), ("usd", 3.1), ("percent", 99), ("percent", 101))
    ]

    assert reasons == ["costlier", "small_effect", "costlier", "small_ratio"]


def test_costs_of_nothing_are_left_out_and_counted(conn: Connection, defaults: Settings) -> None:
    _runs(conn, [1] * 20 + [0, -1, "NaN"], **_PAST)
    _runs(conn, [1, 0])

    robust = _agent(conn, defaults)["robust"]

    assert (robust["n_baseline"], robust["n_current"], robust["zero_cost_runs"]) == (20, 1, 3)


def test_single_runaway_runs_are_named_the_costliest_first(conn: Connection, defaults: Settings) -> None:
    _runs(conn, _lognormal(1, 100), **_PAST)
    _runs(conn, _lognormal(2, 50))
    spikes = _runs(conn, [900 + number for number in range(7)])

    agent = _agent(conn, defaults)

    assert [spike["run_id"] for spike in agent["spike_runs"]] == spikes[:1:-1]
    assert agent["spike_runs"][0]["cost_usd"] == 906
    assert agent["robust"]["verdict"] == "normal"


def test_many_runs_at_the_same_cost_show_in_the_volume_alone(conn: Connection, defaults: Settings) -> None:
    for day in range(1, 6):
        _runs(
            conn, [1] * 4, started_at=AS_OF - timedelta(days=day + 0.5), completed_at=AS_OF - timedelta(days=day + 0.5)
        )
    _runs(conn, [1] * 40)

    agent = _agent(conn, defaults)

    assert (agent["volume_ratio"], agent["robust"]["verdict"], agent["is_anomaly"]) == (10, "normal", False)


def test_agents_that_fell_silent_are_listed_and_are_no_items(conn: Connection, defaults: Settings) -> None:
    _runs(conn, [1] * 20, "gone", **_PAST)
    _runs(conn, [1] * 30, "long gone", **_PAST)
    _runs(conn, [1] * 19, "rare", **_PAST)

    content = _content(conn, defaults)

    at = "2026-01-14T12:00:00.000000Z"
    assert content["silent_agents"] == [
        {"agent_id": "long gone", "baseline_runs": 30, "last_run_at": at},
        {"agent_id": "gone", "baseline_runs": 20, "last_run_at": at},
    ]
    assert (content["agents"], content["expected_false_flags"]) == ([], {"spec": 0, "robust": 0})


def test_an_agent_without_a_past_is_compared_with_its_peers(conn: Connection, defaults: Settings) -> None:
    for agent, cost in (("a", 1), ("b", 2), ("c", 3)):
        _runs(conn, [cost] * 20, agent, **_PAST)
    _runs(conn, [8], "new")
    _runs(conn, [1], "a")

    assert _agent(conn, defaults, "new")["peer"] == {
        "label": "tenant_peers",
        "agents": 3,
        "median_usd": 2,
        "ratio": 4,
    }
    assert _agent(conn, defaults, "a")["peer"] is None


def test_false_flags_are_expected_by_the_number_of_agents_and_of_their_runs(
    conn: Connection, defaults: Settings
) -> None:
    for number in range(10):
        _runs(conn, [1], f"agent-{number}", **_PAST)
        _runs(conn, [1], f"agent-{number}")
    _runs(conn, [1], "new")

    assert _content(conn, defaults)["expected_false_flags"] == {"spec": 4.92, "robust": 0}


@pytest.mark.parametrize("cost", ["1e149", "1e-300"])
def test_hostile_costs_break_nothing(conn: Connection, defaults: Settings, cost: str) -> None:
    _runs(conn, ["1e-290"] * 15 + ["1e140"] * 15, **_PAST)
    _runs(conn, [cost] * 3)

    assert _agent(conn, defaults)["robust"]["n_current"] == 3
