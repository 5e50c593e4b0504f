"""Each threshold from below, at it and above it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from snapshots.settings import load
from tests.factories import AS_OF, TENANT, insert_run, insert_step, insert_trace
from tests.signals.oracle import items, staged
from worker.engine import stage
from worker.signals.attention.signal import STORED_ITEMS

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from snapshots.settings import Settings

_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)


def _trace(conn: Connection, steps: list[dict[str, Any]], **overrides: object) -> None:
    trace_id = insert_trace(conn, **overrides)
    for position, step in enumerate(steps):
        insert_step(conn, trace_id, position, **{"skill_id": f"skill-{position}", **step})


def _found(conn: Connection, settings: Settings, pattern: str) -> list[dict[str, Any]]:
    staged(conn, "patterns", settings, AS_OF)
    return items(conn, stage.stage_pattern_item, TENANT, pattern_type=pattern)


@pytest.mark.parametrize(("retries", "loops"), [([2], 0), ([1, 2], 1), ([4], 1)])
def test_a_run_loops_from_three_retries_in_total(
    conn: Connection, defaults: Settings, retries: list[int], loops: int
) -> None:
    _trace(conn, [{"retry_count": count} for count in retries])

    assert len(_found(conn, defaults, "retry_loop")) == loops


@pytest.mark.parametrize(("uses", "oscillates"), [(3, 0), (4, 1), (5, 1)])
def test_a_run_oscillates_from_three_immediate_repetitions(
    conn: Connection, defaults: Settings, uses: int, oscillates: int
) -> None:
    _trace(conn, [{"skill_id": "search"}] * uses)

    found = _found(conn, defaults, "step_oscillation")

    assert [row["oscillation_count"] for row in found] == [uses - 1] * oscillates


def test_repetitions_add_up_over_the_traces_of_a_run(conn: Connection, defaults: Settings) -> None:
    for _ in range(3):
        _trace(conn, [{"skill_id": "search"}] * 2)

    assert [row["oscillation_count"] for row in _found(conn, defaults, "step_oscillation")] == [3]


def test_alternating_skills_do_not_oscillate(conn: Connection, defaults: Settings) -> None:
    _trace(conn, [{"skill_id": skill} for skill in "abababab"])

    assert _found(conn, defaults, "step_oscillation") == []


@pytest.mark.parametrize(("uses", "depths"), [(2, []), (3, [3]), (5, [5]), (6, [5])])
def test_a_skill_loops_from_three_uses_and_counts_to_five(
    conn: Connection, defaults: Settings, uses: int, depths: list[int]
) -> None:
    _trace(conn, [{"skill_id": skill} for _ in range(uses) for skill in ("search", f"other-{_}")])

    assert [row["loop_depth"] for row in _found(conn, defaults, "tool_call_loop")] == depths


def test_a_missing_skill_loops_and_does_not_oscillate(conn: Connection, defaults: Settings) -> None:
    _trace(conn, [{"skill_id": None}] * 4)

    assert [row["skill_id"] for row in _found(conn, defaults, "tool_call_loop")] == [None]
    assert _found(conn, defaults, "step_oscillation") == []


@pytest.mark.parametrize(("duration_ms", "cascades"), [(4999.999, 0), (5000.0, 0), (5000.001, 1)])
def test_a_step_is_slow_above_five_seconds(
    conn: Connection, defaults: Settings, duration_ms: float, cascades: int
) -> None:
    _trace(conn, [{"duration_ms": duration_ms}] * 2)

    assert len(_found(conn, defaults, "timeout_cascade")) == cascades


@pytest.mark.parametrize(("slow_steps", "cascades"), [(1, 0), (2, 1), (3, 1)])
def test_slow_steps_cascade_from_two(conn: Connection, defaults: Settings, slow_steps: int, cascades: int) -> None:
    _trace(conn, [{"duration_ms": 6000.0}] * slow_steps)

    assert len(_found(conn, defaults, "timeout_cascade")) == cascades


@pytest.mark.parametrize(
    ("started_at", "found"),
    [(AS_OF - _DAY - _TICK, 0), (AS_OF - _DAY, 1), (AS_OF, 1), (AS_OF + _TICK, 0)],
)
def test_the_pattern_window_holds_both_its_ends(
    conn: Connection, defaults: Settings, started_at: datetime, found: int
) -> None:
    _trace(conn, [{"retry_count": 3}], started_at=started_at)

    assert len(_found(conn, defaults, "retry_loop")) == found


def test_thresholds_are_settings(conn: Connection) -> None:
    _trace(conn, [{"skill_id": "search", "retry_count": 1, "duration_ms": 900.0}] * 2)
    lowered = load(slow_step_ms=800, retry_min_total=2, oscillation_min_pairs=1, loop_min_uses=2, cascade_min_steps=1)

    staged(conn, "patterns", lowered, AS_OF)

    assert len(items(conn, stage.stage_pattern_item, TENANT)) == 4


def test_ten_rows_of_a_pattern_are_kept_the_strongest_first(conn: Connection, defaults: Settings) -> None:
    for number in range(12):
        _trace(conn, [{"retry_count": 3}] * (1 + number // 6), run_id=f"run-{number:02}")

    found = _found(conn, defaults, "retry_loop")

    assert [row["run_id"] for row in found] == [f"run-{number:02}" for number in (*range(6, 12), *range(4))]


def _priced(conn: Connection, cost: float, **overrides: object) -> None:
    insert_run(conn, estimated_cost_usd=cost, **overrides)


def _agents(conn: Connection, settings: Settings) -> list[dict[str, Any]]:
    staged(conn, "cost", settings, AS_OF)
    return items(conn, stage.stage_cost_item, TENANT)


@pytest.mark.parametrize(
    ("completed_at", "baseline_runs"),
    [(AS_OF - 7 * _DAY - _TICK, 0), (AS_OF - 7 * _DAY, 1), (AS_OF - _DAY - _TICK, 1), (AS_OF - _DAY, 0)],
)
def test_the_baseline_holds_its_start_and_not_its_end(
    conn: Connection, defaults: Settings, completed_at: datetime, baseline_runs: int
) -> None:
    _priced(conn, 1.0)
    _priced(conn, 1.0, started_at=AS_OF - 8 * _DAY, completed_at=completed_at)

    assert [agent["baseline_run_count"] for agent in _agents(conn, defaults)] == [baseline_runs]


@pytest.mark.parametrize(
    ("started_at", "runs"), [(AS_OF - _DAY - _TICK, []), (AS_OF - _DAY, [1]), (AS_OF, [1]), (AS_OF + _TICK, [])]
)
def test_the_current_day_holds_both_its_ends(
    conn: Connection, defaults: Settings, started_at: datetime, runs: list[int]
) -> None:
    _priced(conn, 1.0, started_at=started_at)

    assert [agent["run_count"] for agent in _agents(conn, defaults)] == runs


@pytest.mark.parametrize(("current", "anomalous"), [("2.4", False), ("2.5", False), ("2.6", True)])
def test_a_cost_is_an_anomaly_above_the_threshold_of_deviations(
    conn: Connection,
    current: str,
    anomalous: bool,  # noqa: FBT001  # a parametrised verdict
) -> None:
    """The baseline has mean 2, deviation 1 and a p95 of 2.9; half a deviation stays below it."""
    for cost in ("1", "2", "3"):
        insert_run(conn, estimated_cost_usd=cost, started_at=AS_OF - 3 * _DAY, completed_at=AS_OF - 3 * _DAY)
    insert_run(conn, estimated_cost_usd=current)

    (agent,) = _agents(conn, load(cost_z_threshold=0.5))

    assert agent["is_anomaly"] is anomalous


@pytest.mark.parametrize(("current", "anomalous"), [(0.9, False), (1.0, False), (1.1, True)])
def test_with_one_baseline_run_a_cost_is_an_anomaly_above_it(
    conn: Connection,
    defaults: Settings,
    current: float,
    anomalous: bool,  # noqa: FBT001  # a parametrised verdict
) -> None:
    _priced(conn, 1.0, started_at=AS_OF - 3 * _DAY, completed_at=AS_OF - 3 * _DAY)
    _priced(conn, current)

    (agent,) = _agents(conn, defaults)

    assert (agent["z_score"], agent["is_anomaly"]) == (0, anomalous)


def test_a_missing_agent_and_a_literal_unknown_are_one(conn: Connection, defaults: Settings) -> None:
    old = {"started_at": AS_OF - 3 * _DAY, "completed_at": AS_OF - 3 * _DAY}
    for agent_id in (None, "unknown"):
        _priced(conn, 1.0, agent_id=agent_id)
        _priced(conn, 2.0, agent_id=agent_id, **old)

    (agent,) = _agents(conn, defaults)

    assert (agent["agent_id"], agent["run_count"], agent["baseline_run_count"]) == ("unknown", 2, 2)


def _queue(conn: Connection, settings: Settings) -> list[dict[str, Any]]:
    staged(conn, "attention", settings, AS_OF)
    return items(conn, stage.stage_attention_item, TENANT)


@pytest.mark.parametrize(("age", "queued"), [(_DAY + _TICK, 0), (_DAY, 1), (_DAY - _TICK, 1)])
def test_a_completed_run_asks_for_attention_for_a_day(
    conn: Connection, defaults: Settings, age: timedelta, queued: int
) -> None:
    insert_run(conn, risk_level="VIOLATED", completed_at=AS_OF - age, started_at=AS_OF - 3 * _DAY)

    assert len(_queue(conn, defaults)) == queued


@pytest.mark.parametrize(("silence", "abandoned"), [(_DAY - _TICK, False), (_DAY, True), (_DAY + _TICK, True)])
def test_a_live_run_is_abandoned_after_a_day_without_a_heartbeat(
    conn: Connection,
    defaults: Settings,
    silence: timedelta,
    abandoned: bool,  # noqa: FBT001  # a parametrised verdict
) -> None:
    insert_run(conn, state="LIVE", risk_level="AT_RISK", last_seen_at=AS_OF - silence)

    assert [run["is_abandoned"] for run in _queue(conn, defaults)] == [abandoned]


@pytest.mark.parametrize(("incidents", "queued"), [(-1, 0), (0, 0), (1, 1)])
def test_a_run_with_an_incident_asks_for_attention(
    conn: Connection, defaults: Settings, incidents: int, queued: int
) -> None:
    insert_run(conn, incident_count=incidents, completed_at=AS_OF)

    assert len(_queue(conn, defaults)) == queued


@pytest.mark.parametrize(
    ("started_at", "recency"),
    [
        (AS_OF, 0.15),
        (AS_OF - _DAY / 2, 0.075),
        (AS_OF - _DAY, 0),
        (AS_OF - 2 * _DAY, 0),
        (None, 0),
        ("-infinity", 0),
    ],
)
def test_recency_decays_over_a_day(host: Connection, defaults: Settings, started_at: object, recency: float) -> None:
    insert_run(host, risk_level="VIOLATED", started_at=started_at, completed_at=AS_OF)

    (run,) = _queue(host, defaults)

    assert float(run["recency_contribution"]) == pytest.approx(recency)
    assert float(run["attention_score"]) == pytest.approx(0.35 + recency)


def test_two_hundred_items_are_kept(conn: Connection, defaults: Settings) -> None:
    for _ in range(STORED_ITEMS + 1):
        insert_run(conn, risk_level="VIOLATED", completed_at=AS_OF)

    assert [run["rank"] for run in _queue(conn, defaults)] == list(range(1, 201))
