"""One run: its traces, and its timeline a page at a time."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from falcon.testing import TestClient
from sqlalchemy import delete, table, text

from api.app import AppDependencies, create_app
from snapshots.settings import Settings
from snapshots.signals import CAPABILITIES
from tests.api.arrange import NOW, OTHER_TENANT, PREFIX, TENANT, Api, bearer
from tests.api.contract import assert_problem
from tests.factories import insert_run, insert_step, insert_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from falcon.testing import Result
    from sqlalchemy import Connection, Engine

RUN = "run-1"
PATH = f"{PREFIX}/runs/{RUN}"

#: Ids that mean something to a path, a query, a shell, SQL or a terminal.
HOSTILE = (
    "a/b",
    "/a//b/",
    "..",
    "../../readyz",
    "a%2Fb",
    "100%",
    "what?limit=1",
    "a#b",
    "a b+c",
    "it's; drop table runs; --",
    "{run_id}",
    "by-dimension/",
    "line\r\nbreak",
    "лог-é-\U0001f600",
    "x" * 256,
)


@pytest.fixture(autouse=True)
def _emptied(api: Api) -> Iterator[None]:
    """Remove the rows that only these tests make."""
    yield
    with api.owner.begin() as conn:
        conn.execute(delete(table("aos_traces", schema="public")))


def arrange_timeline(conn: Connection, run_id: str = RUN, tenant: str = TENANT, mark: str = "") -> None:
    """Insert a run with traces of equal start, of none and of another, each with steps written out of order."""
    starts = {"b": NOW, "a": NOW, "late": NOW + timedelta(hours=1), "none": None}
    for name, started_at in starts.items():
        trace_id = insert_trace(conn, trace_id=f"{mark}{name}", run_id=run_id, tenant_id=tenant, started_at=started_at)
        for step_index in (2, 0, 1):
            insert_step(conn, trace_id, step_index)


IN_ORDER = [(trace, index) for trace in ("a", "b", "late", "none") for index in range(3)]


def timeline(api: Api, limit: int, path: str = PATH) -> list[tuple[str, int]]:
    """Return the steps of every page, in order."""
    found: list[tuple[str, int]] = []
    params: dict[str, object] = {"limit": limit}
    while True:
        body = api.get(path, params=params).json
        assert len(body["steps"]) <= limit
        found += [(step["trace_id"], step["step_index"]) for step in body["steps"]]
        assert body["has_more"] == (body["next_cursor"] is not None)
        if not body["has_more"]:
            return found
        params["cursor"] = body["next_cursor"]


def test_a_run_has_the_members_of_its_list_item(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT, duration_ms=1250.5, estimated_cost_usd="12.5000", started_at=NOW)

    body = api.get(PATH).json

    assert body["run"] == api.get(f"{PREFIX}/runs").json["items"][0]
    assert set(body) == {
        "run",
        "traces",
        "traces_total",
        "steps",
        "has_more",
        "next_cursor",
        "signals",
        "signals_withheld",
    }


def test_a_run_without_traces_has_an_empty_timeline(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)

    body = api.get(PATH).json

    assert (body["traces"], body["traces_total"], body["steps"]) == ([], 0, [])
    assert (body["has_more"], body["next_cursor"]) == (False, None)


@pytest.mark.parametrize("path", [PATH, f"{PREFIX}/runs/nobody"])
def test_a_run_of_another_tenant_is_as_unknown_as_one_that_is_not(api: Api, path: str) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=OTHER_TENANT)

    document = assert_problem(api.get(path), 404, "run_not_found")

    assert document["detail"] == "There is no run of this id."


@pytest.mark.parametrize("run_id", HOSTILE)
def test_any_id_can_be_asked_for(api: Api, run_id: str) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=run_id, tenant_id=TENANT)
        insert_run(conn, id="another", tenant_id=TENANT)

    assert api.get(f"{PREFIX}/runs/{quote(run_id, safe='')}").json["run"]["run_id"] == run_id


@pytest.mark.parametrize("run_id", ["nul\x00", "x" * 257])
def test_what_no_run_can_be_named_is_a_bad_request(api: Api, run_id: str) -> None:
    result = api.get(f"{PREFIX}/runs/{quote(run_id, safe='')}")

    assert assert_problem(result, 400, "invalid_parameter")["parameter"] == "run_id"


def test_the_endpoints_beside_it_keep_their_paths(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id="by-dimension", tenant_id=TENANT)

    assert "buckets" in api.get(f"{PREFIX}/runs/by-dimension", params={"dim": "source"}).json
    assert len(api.get(f"{PREFIX}/runs").json["items"]) == 1


def test_only_reading_is_allowed(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
    key = bearer(api.add_key())

    refused = api.client.simulate_delete(PATH, headers=key)
    head = api.client.simulate_head(PATH, headers=key)

    assert_problem(refused, 405, "method_not_allowed")
    assert (head.status_code, head.text) == (200, "")
    assert head.headers["cache-control"] == "no-store"


def test_the_key_is_asked_for_before_the_run(api: Api) -> None:
    lacking = [name for name in CAPABILITIES if name != "activity.threshold_signals"]

    assert_problem(api.client.simulate_get(PATH), 401, "unauthorized")
    result = api.client.simulate_get(PATH, headers=bearer(api.add_key(capabilities=lacking)))
    assert assert_problem(result, 403, "capability_missing")["capability"] == "activity.threshold_signals"


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=x", "cursor="])
def test_a_malformed_parameter_is_named(api: Api, query: str) -> None:
    document = assert_problem(api.get(f"{PATH}?{query}"), 400, "invalid_parameter")

    assert document["parameter"] == query.partition("=")[0]


@pytest.mark.parametrize(("query", "error"), [("tenant_id=acme", "tenant_id_rejected"), ("x=1", "unknown_parameter")])
def test_other_parameters_are_refused(api: Api, query: str, error: str) -> None:
    assert_problem(api.get(f"{PATH}?{query}"), 400, error)


def test_traces_are_listed_with_their_steps_counted(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        arrange_timeline(conn)
        insert_trace(conn, trace_id="without steps", run_id=RUN, tenant_id=TENANT, started_at="infinity")

    body = api.get(PATH).json

    assert [(trace["trace_id"], trace["step_count"]) for trace in body["traces"]] == [
        ("a", 3),
        ("b", 3),
        ("late", 3),
        ("without steps", 0),
        ("none", 3),
    ]
    assert body["traces_total"] == 5
    assert [trace["started_at"] for trace in body["traces"]] == [
        "2026-01-17T12:00:00.000000Z",
        "2026-01-17T12:00:00.000000Z",
        "2026-01-17T13:00:00.000000Z",
        None,
        None,
    ]


def test_more_than_a_hundred_traces_are_counted_but_not_listed(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        for number in range(103):
            insert_trace(conn, trace_id=f"trace-{number:03}", run_id=RUN, tenant_id=TENANT, started_at=NOW)

    body = api.get(PATH).json

    assert [trace["trace_id"] for trace in body["traces"]] == [f"trace-{number:03}" for number in range(100)]
    assert body["traces_total"] == 103


@pytest.mark.parametrize("limit", [1, 5, 12, 500])
def test_the_pages_together_are_the_whole_timeline_in_order(api: Api, limit: int) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        arrange_timeline(conn)

    assert timeline(api, limit) == IN_ORDER


def test_steps_that_arrive_between_pages_neither_repeat_nor_hide_one(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        arrange_timeline(conn)
    first = api.get(PATH, params={"limit": 5}).json

    with api.owner.begin() as conn:
        insert_step(conn, "a", 7)
        insert_step(conn, "b", 9)
    second = api.get(PATH, params={"cursor": first["next_cursor"]}).json

    shown = [(step["trace_id"], step["step_index"]) for step in (*first["steps"], *second["steps"])]
    assert shown == [*IN_ORDER[:6], ("b", 9), *IN_ORDER[6:]]


def test_a_step_says_what_was_recorded(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        insert_trace(conn, trace_id="a", run_id=RUN, tenant_id=TENANT)
        insert_step(
            conn, "a", 0, duration_ms=12.5, cost_cents=0.1 + 0.2, retry_count=2, outcome_code="E1", timestamp=NOW
        )

    assert api.get(PATH).json["steps"] == [
        {
            "trace_id": "a",
            "step_index": 0,
            "skill_id": "search",
            "skill_name": "Search",
            "status": "succeeded",
            "outcome_category": "SUCCESS",
            "outcome_code": "E1",
            "duration_ms": 12.5,
            "retry_count": 2,
            "cost_cents": 0.3,
            "timestamp": "2026-01-17T12:00:00.000000Z",
            "is_slow": False,
        }
    ]


@pytest.mark.parametrize(
    ("duration_ms", "shown", "is_slow"),
    [
        (4999.9, 4999.9, False),
        (5000.0, 5000, False),
        (5000.1, 5000.1, True),
        (None, None, False),
        (float("nan"), None, False),
        (float("inf"), None, False),
    ],
)
def test_a_step_is_slow_above_the_threshold(api: Api, duration_ms: float, shown: float, *, is_slow: bool) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        insert_trace(conn, trace_id="a", run_id=RUN, tenant_id=TENANT)
        insert_step(conn, "a", 0, duration_ms=duration_ms, cost_cents=float("nan"), timestamp="infinity")

    step = api.get(PATH).json["steps"][0]

    assert (step["duration_ms"], step["is_slow"]) == (shown, is_slow)
    assert (step["cost_cents"], step["timestamp"]) == (None, None)


def test_the_threshold_is_the_deployment_s(api: Api, reader: Engine, authenticator: Engine) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        insert_trace(conn, trace_id="a", run_id=RUN, tenant_id=TENANT)
        insert_step(conn, "a", 0, duration_ms=60.0)
    app = create_app(reader, authenticator, Settings(slow_step_ms=50), AppDependencies(clock=api.moment.clock))

    body = TestClient(app).simulate_get(PATH, headers=bearer(api.add_key())).json

    assert body["steps"][0]["is_slow"]


def test_what_is_archived_is_left_out(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        insert_trace(conn, trace_id="archived", run_id=RUN, tenant_id=TENANT, archived_at=NOW)
        insert_step(conn, "archived", 0)
        insert_trace(conn, trace_id="kept", run_id=RUN, tenant_id=TENANT)
        insert_step(conn, "kept", 0)
        insert_step(conn, "kept", 1, archived_at=NOW)

    body = api.get(PATH).json

    assert [(trace["trace_id"], trace["step_count"]) for trace in body["traces"]] == [("kept", 1)]
    assert body["traces_total"] == 1
    assert timeline(api, 10) == [("kept", 0)]


def test_a_run_id_that_two_tenants_use_shows_each_its_own(api: Api) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        arrange_timeline(conn)
        arrange_timeline(conn, tenant=OTHER_TENANT, mark="foreign ")

    body = api.get(PATH).json

    assert "foreign" not in json.dumps(body)
    assert body["traces_total"] == 4
    assert timeline(api, 5) == IN_ORDER
    assert_problem(api.get(PATH, tenant=OTHER_TENANT), 404, "run_not_found")


def first_cursor(api: Api) -> str:
    """Return the cursor after the first step of a timeline."""
    with api.owner.begin() as conn:
        for run_id, mark in ((RUN, ""), ("run-2", "other ")):
            insert_run(conn, id=run_id, tenant_id=TENANT)
            arrange_timeline(conn, run_id, mark=mark)
    return str(api.get(PATH, params={"limit": 1}).json["next_cursor"])


def with_cursor(api: Api, cursor: str, path: str = PATH, tenant: str = TENANT) -> Result:
    return api.get(path, params={"cursor": cursor}, tenant=tenant)


def test_a_cursor_fits_only_the_run_it_came_from(api: Api) -> None:
    cursor = first_cursor(api)
    with api.owner.begin() as conn:
        conn.execute(text("update public.runs set tenant_id = :tenant where id = 'run-2'"), {"tenant": OTHER_TENANT})
        insert_run(conn, id="run-3", tenant_id=TENANT)
    of_list = api.get(f"{PREFIX}/runs", params={"limit": 1}).json["next_cursor"]

    assert with_cursor(api, cursor).status_code == 200
    assert_problem(with_cursor(api, cursor, f"{PREFIX}/runs/run-3"), 400, "invalid_parameter")
    assert_problem(
        api.get(f"{PREFIX}/runs/run-2", params={"cursor": cursor}, tenant=OTHER_TENANT), 400, "invalid_parameter"
    )
    assert_problem(with_cursor(api, of_list), 400, "invalid_parameter")
    assert_problem(with_cursor(api, cursor, f"{PREFIX}/runs"), 400, "invalid_parameter")


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts[:2],
        lambda parts: [parts[0], "not a timestamp", parts[2]],
        lambda parts: [parts[0], 5, parts[2]],
        lambda parts: [parts[0], parts[1], "a"],
        lambda parts: [parts[0], parts[1], "1.5:a"],
        lambda parts: [parts[0], parts[1], "99999999999:a"],
        lambda parts: [parts[0], parts[1], "\u0661:a"],
        lambda parts: [parts[0], parts[1], "0:nul\x00"],
        lambda parts: [parts[0], parts[1], None],
        lambda parts: ["0" * 16, parts[1], parts[2]],
    ],
)
def test_a_cursor_that_was_tampered_with_is_refused(api: Api, change: Any) -> None:  # noqa: ANN401  # a function
    cursor = first_cursor(api)
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps(change(parts)).encode()).decode().rstrip("=")

    assert assert_problem(with_cursor(api, forged), 400, "invalid_parameter")["parameter"] == "cursor"


def test_a_request_takes_as_many_statements_whatever_there_is(api: Api, statements: list[str]) -> None:
    with api.owner.begin() as conn:
        insert_run(conn, id=RUN, tenant_id=TENANT)
        insert_run(conn, id="empty", tenant_id=TENANT)
        arrange_timeline(conn)
    counts = []
    for run_id in (RUN, RUN, "empty", "nobody"):
        statements.clear()
        api.get(f"{PREFIX}/runs/{run_id}")
        counts.append(len([statement for statement in statements if "tenant_" in statement]))

    assert counts[1:] == [3, 3, 1]
