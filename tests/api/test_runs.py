"""The runs list: its filters, its order, and pages that neither skip nor repeat.

Source: docs/specification-notes.md#runs-list.
"""

from __future__ import annotations

import base64
import json
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from tests.api.arrange import NOW, OTHER_TENANT, PREFIX, TENANT, Api
from tests.api.contract import assert_problem
from tests.factories import insert_run

if TYPE_CHECKING:
    from sqlalchemy import Engine

PATH = f"{PREFIX}/runs"
SORTS = ("started_at", "completed_at", "duration_ms", "estimated_cost_usd")


def insert_sortable_runs(engine: Engine, size: int = 60) -> None:
    """Insert runs with NULLs, ties and values at the rim of their types in each column that sorts."""
    chance = random.Random(7)  # noqa: S311  # rows for a test
    with engine.begin() as conn:
        for number in range(size):
            insert_run(
                conn,
                id=f"Run-{number}" if number % 3 else f"run-{number}é",
                tenant_id=TENANT,
                started_at=chance.choice((None, "infinity", NOW, NOW - timedelta(microseconds=chance.randrange(9)))),
                completed_at=chance.choice((None, NOW, NOW + timedelta(days=chance.randrange(3)))),
                duration_ms=chance.choice((None, float("nan"), float("inf"), 0.1 + 0.2, 1e-300, 5.0)),
                estimated_cost_usd=chance.choice((None, "0.0001", "0.1", "12.5", "NaN")),
            )


def walk(api: Api, **params: object) -> list[str]:
    """Return the runs of every page, in order."""
    found: list[str] = []
    cursor: dict[str, object] = {}
    while True:
        page = api.get(PATH, params={**params, **cursor}).json
        found += [item["run_id"] for item in page["items"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            return found
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 7, 60])
def test_the_pages_together_are_the_whole_list_in_order(api: Api, sort: str, order: str, limit: int) -> None:
    insert_sortable_runs(api.owner)
    whole = text(f'select id from public.runs order by {sort} {order} nulls last, id collate "C"')  # noqa: S608  # from above
    with api.owner.connect() as conn:
        expected = list(conn.execute(whole).scalars())

    assert walk(api, sort=sort, order=order, limit=limit) == expected


def test_the_newest_runs_come_first_when_nothing_is_asked(api: Api) -> None:
    with api.owner.begin() as conn:
        for run_id, age_h in (("old", 5), ("new", 1), ("unknown", None)):
            started = None if age_h is None else NOW - timedelta(hours=age_h)
            insert_run(conn, id=run_id, tenant_id=TENANT, started_at=started)

    assert [item["run_id"] for item in api.get(PATH).json["items"]] == ["new", "old", "unknown"]


def test_runs_that_arrive_between_pages_neither_repeat_nor_hide_one(api: Api) -> None:
    with api.owner.begin() as conn:
        for number in range(6):
            insert_run(conn, id=f"old-{number}", tenant_id=TENANT, started_at=NOW - timedelta(hours=number))
    first = api.get(PATH, params={"limit": 3}).json

    with api.owner.begin() as conn:
        insert_run(conn, id="newer", tenant_id=TENANT, started_at=NOW + timedelta(hours=1))
        insert_run(conn, id="between", tenant_id=TENANT, started_at=NOW - timedelta(hours=3.5))
    second = api.get(PATH, params={"limit": 10, "cursor": first["next_cursor"]}).json

    assert [item["run_id"] for item in first["items"]] == ["old-0", "old-1", "old-2"]
    assert [item["run_id"] for item in second["items"]] == ["old-3", "between", "old-4", "old-5"]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_walk_sees_each_run_once_while_others_arrive_everywhere(api: Api, sort: str, order: str) -> None:
    insert_sortable_runs(api.owner)
    with api.owner.connect() as conn:
        from_the_start = set(conn.execute(text("select id from public.runs")).scalars())

    found: list[str] = []
    params: dict[str, object] = {"sort": sort, "order": order, "limit": 7}
    while params.get("cursor", "first"):
        page = api.get(PATH, params=params).json
        found += [item["run_id"] for item in page["items"]]
        params["cursor"] = page["next_cursor"]
        if len(found) < 60:
            arrive(api, len(found))

    assert len(found) == len(set(found))
    assert from_the_start <= set(found)


def arrive(api: Api, wave: int) -> None:
    """Insert runs before, among and after those of `insert_sortable_runs`, and some that tie with them."""
    with api.owner.begin() as conn:
        for number, value in enumerate((None, 0.0, 5.0, 1000.0)):
            moment = None if value is None else NOW + timedelta(minutes=value - 5)
            times = {"started_at": moment, "completed_at": moment}
            run_id = f"{'AZ'[number % 2]}-{wave}-{number}"
            insert_run(conn, id=run_id, tenant_id=TENANT, duration_ms=value, estimated_cost_usd=value, **times)


def test_an_item_has_the_view_s_columns_and_the_agent(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(
            conn,
            id="run-1",
            tenant_id=TENANT,
            started_at=NOW,
            completed_at=NOW + timedelta(microseconds=1),
            duration_ms=1250.5,
            estimated_cost_usd="12.5000",
            input_tokens=3,
        )

    assert api.get(PATH).json["items"] == [
        {
            "run_id": "run-1",
            "tenant_id": TENANT,
            "project_id": None,
            "agent_id": "agent-1",
            "is_synthetic": False,
            "source": "agent",
            "provider_type": "anthropic",
            "state": "COMPLETED",
            "status": "succeeded",
            "started_at": "2026-01-17T12:00:00.000000Z",
            "last_seen_at": None,
            "completed_at": "2026-01-17T12:00:00.000001Z",
            "duration_ms": 1250.5,
            "risk_level": "NORMAL",
            "latency_bucket": "OK",
            "evidence_health": "FLOWING",
            "integrity_status": "VERIFIED",
            "incident_count": 0,
            "policy_draft_count": 0,
            "policy_violation": False,
            "input_tokens": 3,
            "output_tokens": None,
            "estimated_cost_usd": 12.5,
        }
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_reads_null(api: Api, value: float) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, tenant_id=TENANT, duration_ms=value, estimated_cost_usd="NaN", started_at="infinity")

    item = api.get(PATH).json["items"][0]

    assert (item["duration_ms"], item["estimated_cost_usd"], item["started_at"]) == (None, None, None)


@pytest.mark.parametrize(
    ("column", "wanted", "other"),
    [
        ("state", "LIVE", "COMPLETED"),
        ("project_id", "p1", "p2"),
        ("status", "halted", "failed"),
        ("risk_level", "AT_RISK", "NORMAL"),
        ("latency_bucket", "SLOW", "OK"),
        ("evidence_health", "MISSING", "FLOWING"),
        ("integrity_status", "FAILED", "VERIFIED"),
        ("source", "sdk", "agent"),
        ("provider_type", "a new one", "openai"),
        ("agent_id", "it's; --", "agent"),
    ],
)
def test_a_filter_keeps_what_it_names(api: Api, column: str, wanted: str, other: str) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id="wanted", tenant_id=TENANT, **{column: wanted})
        insert_run(conn, id="other", tenant_id=TENANT, **{column: other})

    body = api.get(PATH, params={column: wanted}).json

    assert [item["run_id"] for item in body["items"]] == ["wanted"]
    applied = body["filters_applied"][column]
    assert applied in (wanted, [wanted])


def test_threshold_signals_are_the_runs_of_two_risk_levels(api: Api) -> None:
    with api.owner.begin() as conn:
        for level in ("NORMAL", "NEAR_THRESHOLD", "AT_RISK", "VIOLATED"):
            insert_run(conn, id=level, tenant_id=TENANT, risk_level=level)

    body = api.get(f"{PATH}?risk_level=NEAR_THRESHOLD&risk_level=AT_RISK&risk_level=AT_RISK").json

    assert {item["run_id"] for item in body["items"]} == {"NEAR_THRESHOLD", "AT_RISK"}
    assert body["filters_applied"] == {"risk_level": ["NEAR_THRESHOLD", "AT_RISK"]}


@pytest.mark.parametrize(("given", "found"), [("true", ["made-up"]), ("false", ["real"])])
def test_synthetic_runs_can_be_told_apart(api: Api, given: str, found: list[str]) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id="made-up", tenant_id=TENANT, is_synthetic=True)
        insert_run(conn, id="real", tenant_id=TENANT, is_synthetic=False)

    assert [item["run_id"] for item in api.get(PATH, params={"is_synthetic": given}).json["items"]] == found


@pytest.mark.parametrize("event", ["started", "completed"])
def test_bounds_are_inclusive(api: Api, event: str) -> None:
    with api.owner.begin() as conn:
        for minutes in (-1, 0, 1):
            moment = {f"{event}_at": NOW + timedelta(minutes=minutes)}
            insert_run(conn, id=f"run{minutes}", tenant_id=TENANT, **moment)

    after = api.get(PATH, params={f"{event}_after": "2026-01-17T12:00:00Z", "order": "asc"}).json["items"]
    before = api.get(PATH, params={f"{event}_before": "2026-01-17T12:00:00Z", "order": "asc"}).json["items"]

    assert {item["run_id"] for item in after} == {"run0", "run1"}
    assert {item["run_id"] for item in before} == {"run-1", "run0"}


def forged(api: Api, change: Any) -> str:  # noqa: ANN401  # a function of the cursor's parts
    """Return a cursor of the list without filters whose parts went through `change`."""
    with api.owner.begin() as conn:
        for _ in range(2):
            insert_run(conn, tenant_id=TENANT, started_at=NOW)
    cursor = api.get(PATH, params={"limit": 1}).json["next_cursor"]
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return base64.urlsafe_b64encode(json.dumps(change(parts)).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts[:2],
        lambda parts: {"a": 1, "b": 2, "c": 3},  # noqa: ARG005  # each takes the parts
        lambda parts: [parts[0], "not a timestamp", parts[2]],
        lambda parts: [parts[0], "2026-13-01", parts[2]],
        lambda parts: [parts[0], 5, parts[2]],
        lambda parts: [parts[0], parts[1], None],
        lambda parts: [parts[0], parts[1], "nul\x00"],
        lambda parts: [parts[0], parts[1], "\ud800"],
        lambda parts: ["0" * 16, parts[1], parts[2]],
        lambda parts: [None, parts[1], parts[2]],
    ],
)
def test_a_cursor_that_was_tampered_with_is_refused(api: Api, change: Any) -> None:  # noqa: ANN401  # a function
    result = api.get(PATH, params={"cursor": forged(api, change)})

    assert assert_problem(result, 400, "invalid_parameter")["parameter"] == "cursor"


@pytest.mark.parametrize("cursor", ["x", "!!!", "é", "bm90IGpzb24", "W" * 2000, base64.b64encode(b"[" * 1500).decode()])
def test_a_cursor_that_was_made_up_is_refused(api: Api, cursor: str) -> None:
    assert_problem(api.get(PATH, params={"cursor": cursor}), 400, "invalid_parameter")


def test_a_cursor_fits_the_same_filters_in_whatever_order_their_values_come(api: Api) -> None:
    with api.owner.begin() as conn:
        for number, status in enumerate(("failed", "succeeded", "failed")):
            insert_run(conn, id=f"run-{number}", tenant_id=TENANT, status=status, started_at=NOW)
    first = api.get(f"{PATH}?status=succeeded&status=failed&limit=2").json

    for query in ("status=failed&status=succeeded", "status=succeeded&status=failed&status=succeeded"):
        rest = api.get(f"{PATH}?{query}&limit=2&cursor={first['next_cursor']}")
        assert [item["run_id"] for item in rest.json["items"]] == ["run-2"]
    fewer = api.get(f"{PATH}?status=failed&cursor={first['next_cursor']}")
    assert_problem(fewer, 400, "invalid_parameter")


@pytest.mark.parametrize("other", [{"sort": "duration_ms"}, {"order": "asc"}, {"status": "failed"}])
def test_a_cursor_fits_only_the_list_it_came_from(api: Api, other: dict[str, str]) -> None:
    cursor = forged(api, lambda parts: parts)

    assert_problem(api.get(PATH, params={"cursor": cursor, **other}), 400, "invalid_parameter")
    assert_problem(api.get(PATH, params={"cursor": cursor}, tenant=OTHER_TENANT), 400, "invalid_parameter")
