"""Explanations: the arithmetic of what was stored, and whether the source still says the same."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from api.app import PREFIX
from tests.api.arrange import NOW, Api
from tests.api.contract import assert_problem
from tests.api.test_freshness import set_aside
from tests.api.test_overlay import items_of, publish
from tests.factories import insert_run, insert_step, insert_trace

if TYPE_CHECKING:
    from sqlalchemy import Connection

HOUR = timedelta(hours=1)


def explained(api: Api, item: dict[str, Any]) -> dict[str, Any]:
    result = api.get(f"{PREFIX}/explain/{item['fingerprint']}")
    assert result.status_code == 200, result.text
    body: dict[str, Any] = result.json
    return body


def change(api: Api, statement: str) -> None:
    with api.owner.begin() as conn:
        conn.execute(text(statement))


@pytest.fixture
def queued(api: Api) -> Api:
    """Return the application over one run that asks for attention in every way."""
    with api.owner.begin() as conn:
        insert_run(
            conn,
            id="run-1",
            state="LIVE",
            started_at=NOW - 6 * HOUR,
            risk_level="VIOLATED",
            policy_violation=True,
            latency_bucket="SLOW",
            evidence_health="MISSING",
        )
    publish(api, NOW, ("attention",))
    return api


def test_the_parts_of_a_score_are_said_and_add_up_to_it(queued: Api) -> None:
    item = items_of(queued, "attention")[0]

    body = explained(queued, item)

    assert body["arithmetic"] == [
        "risk: 0.35 x 1 (VIOLATED) = 0.35",
        "impact: 0.25 x 0.8 (policy violation) = 0.2",
        "latency: 0.15 x 0.5 (SLOW) = 0.075",
        "recency: 0.15 x 0.75 (started 6 hours ago) = 0.1125",
        "evidence: 0.1 x 1 (MISSING) = 0.1",
        "attention_score = 0.35 + 0.2 + 0.075 + 0.1125 + 0.1 = 0.8375",
    ]
    assert body["value"] == item["attention_score"] == 0.8375
    assert (body["key"], body["present"], body["source"]["agrees"]) == ({"run_id": "run-1"}, True, True)


@pytest.mark.parametrize(
    ("assignment", "name", "stored", "now"),
    [
        ("risk_level = 'NORMAL'", "risk", "VIOLATED", "none"),
        ("policy_violation = false, incident_count = 2", "impact", "policy violation", "incident"),
        ("latency_bucket = null", "latency", "SLOW", "none"),
        ("evidence_health = 'DEGRADED'", "evidence", "MISSING", "DEGRADED"),
    ],
)
def test_a_run_that_has_changed_since_says_what_it_was_and_is(
    queued: Api, assignment: str, name: str, stored: str, now: str
) -> None:
    item = items_of(queued, "attention")[0]
    change(queued, f"update runs set {assignment}")  # noqa: S608  # the test's own

    source = explained(queued, item)["source"]

    assert source["agrees"] is False
    assert source["differences"] == [{"name": name, "stored": stored, "now": now}]


def test_a_run_that_is_gone_from_the_source_differs_in_everything(queued: Api) -> None:
    item = items_of(queued, "attention")[0]
    change(queued, "delete from runs")

    assert {each["now"] for each in explained(queued, item)["source"]["differences"]} == {None}


def spend(conn: Connection, cost: float, days_ago: int) -> None:
    at = NOW - timedelta(days=days_ago) - HOUR
    insert_run(conn, agent_id="agent-1", started_at=at, completed_at=at + HOUR / 2, estimated_cost_usd=cost)


def test_the_deviation_of_a_cost_is_worked_out(api: Api) -> None:
    with api.owner.begin() as conn:
        for days_ago, cost in ((0, 10), (2, 1), (3, 2), (4, 3)):
            spend(conn, cost, days_ago)
    publish(api, NOW, ("cost",))
    item = items_of(api, "cost")[0]

    body = explained(api, item)

    assert body["arithmetic"] == [
        "current_cost_usd = 10 USD / 1 run of the current window = 10 USD per run",
        "z_score = (10 - 2) / 1 = 8 > 2",
        "current_cost_usd = 10 > 2.9 = baseline_p95_usd",
        "is_anomaly = true: z_score is above 2 and the cost is above the 95th percentile",
    ]
    assert body["source"] == {"checked_at": "2026-01-17T12:00:00.000000Z", "agrees": True, "differences": []}
    change(api, "update runs set estimated_cost_usd = 20 where estimated_cost_usd = 10")
    differences = {
        each["name"]: (each["stored"], each["now"]) for each in explained(api, item)["source"]["differences"]
    }
    assert differences == {"current_cost_usd": (10, 20), "total_cost_usd": (10, 20)}


def test_an_agent_without_a_baseline_says_so(api: Api) -> None:
    with api.owner.begin() as conn:
        spend(conn, 1, 0)
    publish(api, NOW, ("cost",))

    said = explained(api, items_of(api, "cost")[0])["arithmetic"]

    assert said[1:] == [
        "z_score = 0: no run with a cost completed in the baseline window",
        "baseline_p95_usd: none, since there is no baseline",
        "is_anomaly = false: neither z_score nor the cost is above its threshold",
    ]


def test_an_anomaly_names_the_one_condition_that_holds(api: Api) -> None:
    with api.owner.begin() as conn:
        for days_ago, cost in ((0, 2), (2, 1)):
            spend(conn, cost, days_ago)
    publish(api, NOW, ("cost",))

    said = explained(api, items_of(api, "cost")[0])["arithmetic"]

    assert said[1:] == [
        "z_score = 0: the baseline has 1 run, so it has no standard deviation",
        "current_cost_usd = 2 > 1 = baseline_p95_usd",
        "is_anomaly = true: the cost is above the 95th percentile",
    ]


@pytest.mark.parametrize("cost", [1e21, 1.5e149])
def test_a_cost_of_any_size_is_explained(api: Api, cost: float) -> None:
    with api.owner.begin() as conn:
        for days_ago in (0, 2, 3, 4):
            spend(conn, cost + 0.25 * days_ago, days_ago)
        spend(conn, 0.5, 0)
    publish(api, NOW, ("cost",))

    body = explained(api, items_of(api, "cost")[0])

    assert body["inputs"]["run_count"] == 2
    assert body["source"]["agrees"]


def test_an_item_of_a_tenant_that_is_set_aside_is_explained_for_the_instant_it_was_confirmed_for(api: Api) -> None:
    with api.owner.begin() as conn:
        spend(conn, 1, 0)
    publish(api, NOW - HOUR, ("cost",))
    item = items_of(api, "cost")[0]
    api.verify("cost", window_json='"now"')
    set_aside(api, "cost", 10, as_of=NOW - HOUR / 2, window_json='"last"')

    assert explained(api, item)["snapshot"]["as_of"] == "2026-01-17T11:30:00.000000Z"


STUCK = ("retry_loop", "step_oscillation", "tool_call_loop", "timeout_cascade")


@pytest.fixture
def stuck(api: Api) -> Api:
    """Return the application over two runs that are stuck in every way, one of them deeper."""
    with api.owner.begin() as conn:
        for run, steps in (("run-1", 4), ("run-2", 5)):
            trace = insert_trace(conn, trace_id=f"trace-{run}", run_id=run, started_at=NOW - HOUR)
            for index in range(steps):
                insert_step(conn, trace, index, skill_id="search", retry_count=2, duration_ms=9000.0)
    publish(api, NOW, ("patterns",))
    return api


@pytest.mark.parametrize("pattern", STUCK)
def test_every_pattern_says_its_counts_and_its_confidence(stuck: Api, pattern: str) -> None:
    item = next(item for item in items_of(stuck, "patterns") if item["pattern_type"] == pattern)

    body = explained(stuck, item)

    assert len(body["arithmetic"]) == 3
    assert all(re.fullmatch(r"run-\d: \d+ .* >= \d+", sentence) for sentence in body["arithmetic"][:2])
    said = Decimal(body["arithmetic"][-1].rpartition(": ")[2])
    assert float(said) == item["confidence"]
    assert body["source"]["agrees"] is True, body["source"]


@pytest.mark.parametrize("duration", [float("nan"), float("inf")])
def test_a_duration_that_is_not_finite_is_no_slow_step_of_the_source_either(api: Api, duration: float) -> None:
    with api.owner.begin() as conn:
        trace = insert_trace(conn, trace_id="trace-1", run_id="run-1", started_at=NOW - HOUR)
        for index, each in enumerate((9000.0, 9000.0, duration)):
            insert_step(conn, trace, index, skill_id=f"skill-{index}", duration_ms=each)
    publish(api, NOW, ("patterns",))

    body = explained(api, items_of(api, "patterns")[0])

    assert body["inputs"] == {"run-1": 2}
    assert body["source"]["agrees"] is True, body["source"]


@pytest.mark.parametrize("pattern", STUCK)
def test_steps_that_came_since_show(stuck: Api, pattern: str) -> None:
    item = next(item for item in items_of(stuck, "patterns") if item["pattern_type"] == pattern)
    with stuck.owner.begin() as conn:
        insert_step(conn, "trace-run-1", 9, skill_id="search", retry_count=2, duration_ms=9000.0)

    differences = explained(stuck, item)["source"]["differences"]

    assert [each["name"] for each in differences] == ["run-1"]
    assert differences[0]["now"] > differences[0]["stored"]


def test_what_left_is_told_apart_from_what_never_was(queued: Api) -> None:
    item = items_of(queued, "attention")[0]
    change(
        queued,
        "update runs set risk_level = 'NORMAL', policy_violation = false, latency_bucket = 'OK',"
        " evidence_health = 'FLOWING'",
    )
    publish(queued, NOW + timedelta(minutes=1), ("attention",))

    body = explained(queued, item)

    assert (body["present"], body["arithmetic"], body["source"]["agrees"]) == (False, [], None)
    assert_problem(queued.get(f"{PREFIX}/explain/{'0' * 32}"), 404, "item_not_found")
    assert_problem(queued.get(f"{PREFIX}/explain/abc"), 400, "invalid_parameter")
    foreign = queued.get(f"{PREFIX}/explain/{item['fingerprint']}", tenant="globex")
    assert_problem(foreign, 404, "item_not_found")
