from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from falcon.testing import TestClient
from sqlalchemy import text

from api.app import AppDependencies, create_app
from api.http.middleware import MAX_QUERY_CHARS
from api.http.problems import of
from snapshots.database import connect
from snapshots.errors import DatabaseUnavailableError
from snapshots.settings import Settings
from tests.api.arrange import ENDPOINTS, LIVE_PATHS, NOW, PREFIX, Api, bearer
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

BAD_INSTANTS = (
    "yesterday",
    "2026-01-17",
    "2026-01-17T12:00:00",
    "2026-01-17T12:00:00+02:00:00",
    "2026-02-30T00:00:00Z",
)
BAD_LIMITS = ("0", "-1", "abc", "1.5", "", "%2B5", "\u0661", "99999999999999999999")


def path_and_query(endpoint: str, query: str) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_without_a_key_each_endpoint_asks_for_one(api: Api, endpoint: str) -> None:
    result = api.client.simulate_get(endpoint)

    assert_problem(result, 401, "unauthorized")
    assert result.headers["www-authenticate"] == 'Bearer realm="activity"'


@pytest.mark.parametrize(("endpoint", "capability"), ENDPOINTS.items())
def test_a_key_without_the_capability_is_told_which_one(api: Api, endpoint: str, capability: str) -> None:
    others = [other for other in ENDPOINTS.values() if other != capability]

    result = api.client.simulate_get(endpoint, headers=bearer(api.add_key(capabilities=others)))

    assert assert_problem(result, 403, "capability_missing")["capability"] == capability


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_query_may_not_name_a_tenant(api: Api, endpoint: str) -> None:
    assert_problem(api.get(path_and_query(endpoint, "tenant_id=acme")), 400, "tenant_id_rejected")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_unknown_parameter_is_named_beside_the_allowed_ones(api: Api, endpoint: str) -> None:
    document = assert_problem(api.get(path_and_query(endpoint, "colour=red")), 400, "unknown_parameter")

    assert document["parameter"] == "colour"
    assert document["allowed"] == sorted(document["allowed"])
    assert "colour" in document["detail"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_query_string_that_is_too_long_is_not_read(api: Api, endpoint: str) -> None:
    result = api.client.simulate_get(path_and_query(endpoint, "project_id=" + "x" * MAX_QUERY_CHARS))

    assert_problem(result, 414, "query_too_long")


@pytest.mark.parametrize("endpoint", [*ENDPOINTS, "/", "/livez", "/readyz"])
def test_other_methods_are_not_allowed(api: Api, endpoint: str) -> None:
    result = api.client.simulate_post(endpoint)

    assert_problem(result, 405, "method_not_allowed")
    assert "GET" in result.headers["allow"]


@pytest.mark.parametrize("path", ["/nothing", f"{PREFIX}/nothing", f"{PREFIX}/runs/", "/%00", "/é"])
def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    assert_problem(api.get(path), 404, "not_found")


@pytest.mark.parametrize("value", BAD_INSTANTS)
@pytest.mark.parametrize("name", ["started_after", "started_before"])
@pytest.mark.parametrize("path", ["summary/by-status", "runs"])
def test_a_malformed_timestamp_is_named(api: Api, path: str, name: str, value: str) -> None:
    document = assert_problem(api.get(f"{PREFIX}/{path}", params={name: value}), 400, "invalid_parameter")

    assert document["parameter"] == name
    assert "RFC 3339" in document["expected"]


@pytest.mark.parametrize(
    "value",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-17T12:00:00.1234567Z", "0000-01-01T00:00:00Z"],
)
def test_a_timestamp_out_of_reach_is_malformed(api: Api, value: str) -> None:
    result = api.get(f"{PREFIX}/runs", params={"completed_before": value})

    assert assert_problem(result, 400, "invalid_parameter")["parameter"] == "completed_before"


@pytest.mark.parametrize("value", [*BAD_LIMITS, "101"])
def test_a_malformed_limit_of_the_attention_queue_is_named(api: Api, value: str) -> None:
    result = api.get(f"{PREFIX}/attention-queue?limit={value}")

    assert assert_problem(result, 400, "invalid_parameter")["expected"] == "a whole number from 1 to 100"


@pytest.mark.parametrize("value", [*BAD_LIMITS, "201"])
def test_a_malformed_limit_of_the_runs_list_is_named(api: Api, value: str) -> None:
    result = api.get(f"{PREFIX}/runs?limit={value}")

    assert assert_problem(result, 400, "invalid_parameter")["expected"] == "a whole number from 1 to 200"


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("state=live", "state"),
        ("state=", "state"),
        ("state=LIVE&state=LIVE", "state"),
        ("risk_level=HIGH", "risk_level"),
        ("risk_level=NORMAL&risk_level=normal", "risk_level"),
        ("status=", "status"),
        ("status=%00", "status"),
        ("agent_id=" + "a" * 257, "agent_id"),
        ("project_id=", "project_id"),
        ("project_id=a%00b", "project_id"),
        ("project_id=a&project_id=b", "project_id"),
        ("is_synthetic=1", "is_synthetic"),
        ("sort=run_id", "sort"),
        ("order=up", "order"),
        ("limit=1&limit=2", "limit"),
        ("cursor=", "cursor"),
        ("cursor=" + "a" * 2049, "cursor"),
        ("started_after=", "started_after"),
    ],
)
def test_a_malformed_filter_of_the_runs_list_is_named(api: Api, query: str, name: str) -> None:
    document = assert_problem(api.get(f"{PREFIX}/runs?{query}"), 400, "invalid_parameter")

    assert document["parameter"] == name
    assert document["detail"].startswith(f"{name}: expected ")


@pytest.mark.parametrize(
    ("query", "received"), [("", None), ("?dim=", ""), ("?dim=status", "status"), ("?dim=SOURCE", "SOURCE")]
)
def test_an_invalid_dimension_has_the_members_of_the_spec(api: Api, query: str, received: str | None) -> None:
    document = assert_problem(api.get(f"{PREFIX}/runs/by-dimension{query}"), 400, "invalid_dimension")

    assert document["allowed"] == ["agent_id", "provider_type", "source"]
    assert document["received"] == received


@pytest.mark.parametrize("query", ["dim=source&dim=source", "dim=%00", "dim=" + "x" * 300, "dim=source&state=ALL"])
def test_a_malformed_query_by_dimension_is_refused(api: Api, query: str) -> None:
    assert_problem(api.get(f"{PREFIX}/runs/by-dimension?{query}"), 400, "invalid_parameter")


@pytest.mark.parametrize("endpoint", [*ENDPOINTS, "/readyz"])
def test_a_database_that_is_down_is_unavailable(tmp_path: Path, endpoint: str) -> None:
    nowhere = connect(f"postgresql://user:password@/activity?host={tmp_path}")
    client = TestClient(create_app(nowhere, nowhere, Settings()))

    result = client.simulate_get(endpoint, headers=bearer("act_" + "0" * 12 + "_" + "0" * 64))

    assert_problem(result, 503, "database_unavailable")
    assert int(result.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", LIVE_PATHS)
def test_a_query_that_takes_too_long_is_given_up(
    api: Api, owner: Engine, reader: Engine, authenticator: Engine, path: str
) -> None:
    token = api.add_key()
    client = TestClient(create_app(reader, authenticator, Settings(live_timeout_ms=100), AppDependencies(lambda: NOW)))

    with owner.begin() as conn:
        conn.execute(text("lock table public.runs, signals.signal_change in access exclusive mode"))
        result = client.simulate_get(path, headers=bearer(token))

    assert_problem(result, 503, "query_timeout")
    assert int(result.headers["retry-after"]) > 0


def test_a_database_without_our_schema_is_a_mismatch(api: Api, empty_database: str) -> None:
    engine = connect(empty_database)
    client = TestClient(create_app(engine, engine, Settings()))

    for path in ("/readyz", *ENDPOINTS):
        result = client.simulate_get(path, headers=bearer(api.add_key()))
        assert_problem(result, 503, "schema_mismatch")
    engine.dispose()


def test_a_failure_that_nobody_foresaw_is_logged_and_not_described(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.verify("attention")
    api.publish("attention", '{"not":"a queue"}', items=["{}"])

    result = api.get(f"{PREFIX}/attention-queue?limit=1", headers={"X-Request-Id": "trace-me"})

    assert_problem(result, 500, "internal_error")
    assert result.headers["x-request-id"] == "trace-me"
    assert [getattr(record, "request_id", None) for record in caplog.records] == ["trace-me"]
    assert "does not begin with its items" in caplog.text


def test_the_boundary_s_own_outage_is_unavailable_too() -> None:
    assert of(DatabaseUnavailableError("gone")).error == "database_unavailable"


@pytest.mark.parametrize("given", ["two words", "x" * 65, "a\tb"])
def test_a_request_id_that_would_forge_log_lines_is_replaced(given: str, api: Api) -> None:
    result: Any = api.client.simulate_get("/livez", headers={"X-Request-Id": given})

    assert result.headers["x-request-id"] != given
