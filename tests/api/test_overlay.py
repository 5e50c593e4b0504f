"""Item annotations beside the stored text: fingerprint, movement and triage; never inside it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from snapshots import settings
from snapshots.body import ITEM_LISTS
from snapshots.tables import snapshot
from tests.api.arrange import SNAPSHOT_PATHS, TENANT, Api
from tests.api.contract import assert_problem
from tests.factories import insert_run, insert_step, insert_trace
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext
from worker.engine.publish import draw_fence
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from sqlalchemy import Connection

SETTINGS = settings.load()
PREFIX = "/api/v1/activity"
EXTRAS = ("fingerprint", "movement", "triage")


def plant(conn: Connection, number: int, as_of: datetime, **overrides: object) -> None:
    """Insert a run that every signal finds, with an agent of its own."""
    row = {"agent_id": f"agent-{number:03}", "estimated_cost_usd": number + 1, "risk_level": "AT_RISK"}
    started = as_of - timedelta(hours=1)
    run = insert_run(conn, id=f"run-{number:03}", started_at=started, completed_at=as_of, **row | overrides)
    trace = insert_trace(conn, trace_id=f"trace-{number}", run_id=run, started_at=started)
    for index in range(3):
        insert_step(conn, trace, index, skill_id=f"skill-é-{number % 2}")


def publish(api: Api, as_of: datetime, signals: tuple[str, ...] = tuple(SIGNALS)) -> None:
    """Refresh as a worker does, as of `as_of`."""
    with api.owner.begin() as conn:
        for signal in signals:
            _, fence = draw_fence(conn)
            refresh_batch(conn, RefreshContext(SIGNALS[signal], SETTINGS, fence, as_of, fence))


@pytest.fixture
def busy(api: Api) -> Api:
    """Return the application over 50 runs that every signal has found and published."""
    with api.owner.begin() as conn:
        for number in range(50):
            plant(conn, number, api.moment.now)
    publish(api, api.moment.now)
    return api


def items_of(api: Api, signal: str, **params: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = api.get(SNAPSHOT_PATHS[signal], params=params).json[ITEM_LISTS[signal]]
    return listed


@pytest.mark.parametrize("signal", SNAPSHOT_PATHS)
def test_every_item_carries_its_extras_after_its_own_members(busy: Api, signal: str) -> None:
    with busy.owner.begin() as conn:
        row = conn.execute(select(snapshot).where(snapshot.c.signal == signal)).one()
    stored = json.loads(row.content)

    body = busy.get(SNAPSHOT_PATHS[signal]).json

    own = [{name: value for name, value in item.items() if name not in EXTRAS} for item in body[ITEM_LISTS[signal]]]
    assert own == stored.pop(ITEM_LISTS[signal])
    assert {name: body[name] for name in stored} == stored
    assert all(tuple(item)[-3:] == EXTRAS for item in body[ITEM_LISTS[signal]])
    assert len({item["fingerprint"] for item in body[ITEM_LISTS[signal]]}) == len(own) > 1


@pytest.mark.parametrize("limit", [1, 20, 21, 40, 41, 50, 100])
def test_any_limit_gives_the_first_items_with_what_they_carry(busy: Api, limit: int) -> None:
    queue = items_of(busy, "attention", limit=str(limit))

    assert [item["rank"] for item in queue] == list(range(1, min(limit, 50) + 1))
    assert all(item["movement"]["since_previous"] == "entered" for item in queue)


def test_what_happened_since_a_day_ago_is_told_apart_from_the_version_before(busy: Api) -> None:
    start = busy.moment.now
    with busy.owner.begin() as conn:
        conn.exec_driver_sql("delete from runs where id >= 'run-004'")
        conn.exec_driver_sql("update runs set state = 'LIVE'")
    publish(busy, start, ("attention",))
    for hours, change in (
        (25, "update runs set risk_level = 'VIOLATED' where id = 'run-001'"),
        (26, "update runs set risk_level = 'NEAR_THRESHOLD' where id = 'run-002'"),
        (27, "update runs set risk_level = 'NORMAL' where id = 'run-003'"),
    ):
        with busy.owner.begin() as conn:
            conn.exec_driver_sql(change)
        publish(busy, start + timedelta(hours=hours), ("attention",))
    busy.moment.pass_by(27 * 3600)

    body = busy.get(SNAPSHOT_PATHS["attention"]).json

    words = {item["run_id"]: item["movement"] for item in body["queue"]}
    assert {run: each["since_24h"] for run, each in words.items()} == {
        "run-000": "same",
        "run-001": "rose",
        "run-002": "fell",
    }
    assert {each["since_previous"] for each in words.values()} == {"same"}
    assert words["run-000"]["refreshes_present"] == 5
    gone = [each["key"] for each in body["movement"]["left_since_previous"]]
    assert gone == [each["key"] for each in body["movement"]["left_24h"]] == [{"run_id": "run-003"}]


def test_a_refresh_that_confirms_leaves_the_tag_and_counts_on(busy: Api) -> None:
    first = busy.get(SNAPSHOT_PATHS["cost"])
    publish(busy, busy.moment.now + timedelta(minutes=5), ("cost",))
    busy.moment.pass_by(2)

    second = busy.get(SNAPSHOT_PATHS["cost"])

    assert second.headers["etag"] == first.headers["etag"]
    assert [each.json["agents"][0]["movement"]["refreshes_present"] for each in (first, second)] == [1, 2]


def test_the_tag_changes_when_the_day_has_passed(busy: Api) -> None:
    first = busy.get(SNAPSHOT_PATHS["cost"]).headers["etag"]
    busy.moment.pass_by(25 * 3600)

    second = busy.get(SNAPSHOT_PATHS["cost"])

    assert second.headers["etag"] != first
    assert second.json["agents"][0]["movement"]["since_24h"] == "same"


def test_a_kept_version_is_served_as_it_was(busy: Api) -> None:
    with busy.owner.begin() as conn:
        conn.exec_driver_sql("delete from runs where id > 'run-010'")
    publish(busy, busy.moment.now + timedelta(minutes=5), ("cost",))

    past = busy.get(SNAPSHOT_PATHS["cost"], params={"as_of": "2026-01-17T12:00:00Z"}).json

    assert len(past["agents"]) == 50
    assert "movement" not in past
    assert not set(EXTRAS) & set(past["agents"][0])


def test_the_history_of_an_item_has_a_point_per_change(busy: Api) -> None:
    fingerprint = items_of(busy, "cost")[0]["fingerprint"]
    for minutes, cost in ((5, 100), (10, 20)):
        with busy.owner.begin() as conn:
            conn.exec_driver_sql(f"update runs set estimated_cost_usd = {cost} where id = 'run-049'")  # noqa: S608  # ours
        publish(busy, busy.moment.now + timedelta(minutes=minutes), ("cost",))
    busy.moment.pass_by(900)

    series = busy.get(f"{PREFIX}/history", params={"signal": "cost", "key": fingerprint}).json

    agents = {item["agent_id"]: item["fingerprint"] for item in items_of(busy, "cost")}
    points = busy.get(f"{PREFIX}/history", params={"signal": "cost", "key": agents["agent-049"]}).json["points"]
    assert [point["value"] for point in points] == [50, 100, 20]
    assert series["key"] == fingerprint
    later = {"signal": "cost", "key": agents["agent-049"], "since": "2026-01-17T12:07:00Z"}
    shorter = busy.get(f"{PREFIX}/history", params=later).json["points"]
    assert [point["value"] for point in shorter] == [100, 20]


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"key": "0" * 32}, "signal"),
        ({"signal": "cost"}, "key"),
        ({"signal": "cost", "key": "G" * 32}, "key"),
        ({"signal": "made_up", "key": "0" * 32}, "signal"),
        ({"signal": "cost", "key": "0" * 32, "since": "2027-01-01T00:00:00Z"}, "since"),
    ],
)
def test_a_history_of_nothing_says_which_parameter_is_at_fault(api: Api, params: dict[str, str], name: str) -> None:
    problem = assert_problem(api.get(f"{PREFIX}/history", params=params), 400, "invalid_parameter")

    assert problem["parameter"] == name


def test_a_fingerprint_of_another_tenant_is_unknown(busy: Api) -> None:
    fingerprint = items_of(busy, "cost")[0]["fingerprint"]

    result = busy.get(f"{PREFIX}/history", tenant="globex", params={"signal": "cost", "key": fingerprint})

    assert_problem(result, 404, "item_not_found")
    assert TENANT not in result.text
