"""The console's session: what its cookie is, what it may do, and what another site cannot do with it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from falcon.testing import TestClient
from freezegun import freeze_time
from sqlalchemy import update

from api.app import AppDependencies, create_app
from api.auth.session import COOKIE, HOST_COOKIE, MAX_CREDENTIAL_CHARS, PROOF_HEADER
from snapshots.settings import Settings
from snapshots.tables import api_key
from tests.api.arrange import FAR, NOW, PREFIX, SNAPSHOT_PATHS, TENANT, Api, Moment, Paper, bearer, write_log
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from falcon.testing import Result
    from sqlalchemy import Engine

SESSION = "/api/v1/session"
PATTERNS = SNAPSHOT_PATHS["patterns"]
LOCAL = {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}
REMOTE = {"Host": "ops.example.com", "Origin": "https://ops.example.com"}


def log_in(api: Api, token: object, **headers: str) -> Result:
    return api.client.simulate_post(SESSION, json={"api_key": token}, headers={**LOCAL, **headers})


def cookie(token: str, **headers: str) -> dict[str, str]:
    """Return the headers of a browser that holds a session."""
    return {"Cookie": f"theme=dark; {COOKIE}={token}", **LOCAL, **headers}


def said(result: Result) -> dict[str, str]:
    """Return what the browser is told to keep or to forget: the attributes of each `name=value`."""
    told: dict[str, str] = {}
    for name, cookie in result.cookies.items():
        words = [
            *(["Max-Age=0"] if cookie.max_age == 0 else []),
            f"Path={cookie.path}",
            *(["HttpOnly"] if cookie.http_only else []),
            f"SameSite={cookie.same_site}",
            *(["Secure"] if cookie.secure else []),
        ]
        told[f"{name}={cookie.value}"] = "; ".join(words)
    return told


def kept(result: Result) -> str:
    """Return the one cookie that the browser is told to keep."""
    [name] = [name for name, cookie in result.cookies.items() if cookie.max_age != 0]
    return name


def test_a_valid_key_becomes_a_cookie_that_no_script_can_read(api: Api) -> None:
    token = api.add_key()

    result = log_in(api, token)

    assert (result.status_code, result.content) == (204, b"")
    assert said(result) == {
        f"{COOKIE}={token}": "Path=/api; HttpOnly; SameSite=Strict",
        f"{HOST_COOKIE}=": "Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure",
    }
    assert result.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "ops.example.com", "Origin": "https://ops.example.com"},
        {"Host": "ops.example.com", "Origin": "http://ops.example.com"},
        # A proxy that rewrites the host does not fool the browser's own word.
        {"Host": "127.0.0.1:8000", "Origin": "https://ops.example.com", "Sec-Fetch-Site": "same-origin"},
        {"Host": "127.0.0.1:8000", "Origin": "https://127.0.0.1:8000"},
    ],
)
def test_the_cookie_travels_over_tls_alone_unless_the_browser_is_on_the_machine(
    api: Api, headers: dict[str, str]
) -> None:
    token = api.add_key()

    assert said(log_in(api, token, **headers)) == {
        f"{HOST_COOKIE}={token}": "Path=/; HttpOnly; SameSite=Strict; Secure",
        f"{COOKIE}=": "Max-Age=0; Path=/api; HttpOnly; SameSite=Strict",
    }


def test_a_client_without_an_origin_is_judged_by_host_and_proxy(api: Api) -> None:
    body = {"api_key": api.add_key()}

    def name(**headers: str) -> str:
        return kept(api.client.simulate_post(SESSION, json=body, headers=headers))

    assert name(Host="localhost:8000") == COOKIE
    assert name(Host="ops.example.com") == HOST_COOKIE
    assert name(**{"Host": "localhost:8000", "X-Forwarded-Proto": "https"}) == HOST_COOKIE


def test_over_tls_a_cookie_counts_that_no_other_host_can_have_set(api: Api) -> None:
    mine, other = api.add_key("acme"), api.add_key("globex")
    own, foreign = f"{HOST_COOKIE}={mine}", f"{COOKIE}={other}"

    def tenant(cookies: str, **headers: str) -> object:
        result = api.client.simulate_get(SESSION, headers={"Cookie": cookies, **headers})
        return result.json.get("tenant_id")

    assert tenant(f"{foreign}; {own}", **REMOTE) == "acme"
    assert tenant(foreign, **REMOTE) is None
    assert tenant(foreign, Host="ops.example.com") is None
    assert tenant(foreign, **{"Host": "localhost:8000", "X-Forwarded-Proto": "https"}) is None
    # A proxy that speaks TLS, and says neither that nor to whom, takes nothing from those who have a session.
    assert tenant(f"{foreign}; {own}", Host="127.0.0.1:8000") == "acme"
    assert tenant(own, Host="127.0.0.1:8000") == "acme"
    assert tenant(foreign, **LOCAL) == "globex"


def test_over_tls_a_session_is_held_to_the_pages_own_header_too(api: Api) -> None:
    headers = {"Cookie": f"{HOST_COOKIE}={api.add_key()}", **REMOTE}

    assert_problem(api.client.simulate_delete(SESSION, headers=headers), 403, "cross_site_request")


def test_a_session_says_whom_it_speaks_for(api: Api) -> None:
    token = api.add_key(capabilities=["activity.patterns"], expires_at=NOW + timedelta(hours=1))

    result = api.client.simulate_get(SESSION, headers=cookie(token))

    assert result.json == {
        "tenant_id": TENANT,
        "capabilities": ["activity.patterns"],
        "valid_until": "2026-01-17T13:00:00.000000Z",
    }
    assert result.headers["cache-control"] == "no-store"


def test_a_session_reads_what_its_key_may_read(api: Api) -> None:
    api.verify("patterns")
    token = api.add_key(capabilities=["activity.patterns"])

    assert api.client.simulate_get(PATTERNS, headers=cookie(token)).status_code == 200
    refused = api.client.simulate_get(SNAPSHOT_PATHS["cost"], headers=cookie(token))
    assert_problem(refused, 403, "capability_missing")


def test_sessions_of_two_tenants_never_share_an_answer(api: Api) -> None:
    for tenant in ("acme", "globex"):
        api.verify("patterns")
        api.publish("patterns", f'{{"patterns":["{tenant}"]}}', tenant=tenant)
    mine, other = api.add_key("acme"), api.add_key("globex")

    for _ in range(2):
        for token, words in ((mine, "acme"), (other, "globex")):
            result = api.client.simulate_get(PATTERNS, headers=cookie(token))
            assert result.json["patterns"] == [words]
            assert {"Authorization", "Cookie"} <= set(result.headers["vary"].replace(",", " ").split())


def test_a_header_comes_before_the_cookie_valid_or_not(api: Api) -> None:
    mine, other = api.add_key("acme"), api.add_key("globex")

    both = api.client.simulate_get(SESSION, headers=cookie(mine) | bearer(other))
    assert both.json["tenant_id"] == "globex"
    for header in ("Bearer act_wrong", "Basic YTpi", ""):
        result = api.client.simulate_get(SESSION, headers=cookie(mine) | {"Authorization": header})
        assert_problem(result, 401, "unauthorized")


@pytest.mark.parametrize("token", ["", "act_0000000000000000_00", "x" * 200, '"quoted"'])
def test_a_cookie_that_is_no_credential_opens_nothing(api: Api, token: str) -> None:
    assert_problem(api.client.simulate_get(SESSION, headers=cookie(token)), 401, "unauthorized")


def test_a_wrong_key_gets_401_and_no_cookie(api: Api) -> None:
    result = log_in(api, "act_0000000000000000_" + "0" * 64)

    assert_problem(result, 401, "unauthorized")
    assert "set-cookie" not in result.headers


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ('{"api_key": 5}', 400, "invalid_body"),
        ("{}", 400, "invalid_body"),
        ('{"api_key": "a", "tenant_id": "globex"}', 400, "invalid_body"),
        ('{"api_key": "a; Path=/"}', 400, "invalid_body"),
        ('{"api_key": "a\\r\\nSet-Cookie: b=c"}', 400, "invalid_body"),
        (f'{{"api_key": "{"a" * (MAX_CREDENTIAL_CHARS + 1)}"}}', 400, "invalid_body"),
        ("[" * 50_000, 400, "invalid_body"),
        ("hunter2", 400, "invalid_body"),
        ("", 400, "invalid_body"),
    ],
)
def test_another_body_is_refused_and_not_repeated(api: Api, body: str, status: int, error: str) -> None:
    result = api.client.simulate_post(SESSION, body=body, headers=LOCAL, content_type="application/json")

    document = assert_problem(result, status, error)
    assert "hunter2" not in document["detail"]


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
def test_what_a_foreign_form_can_send_is_refused(api: Api, media_type: str) -> None:
    body = f'{{"api_key": "{api.add_key()}"}}'

    result = api.client.simulate_post(SESSION, body=body, headers=LOCAL, content_type=media_type)

    assert_problem(result, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_site_can_neither_begin_nor_end_a_session(api: Api, headers: dict[str, str]) -> None:
    token = api.add_key()

    begun = log_in(api, token, **headers)
    ended = api.client.simulate_delete(SESSION, headers=cookie(token, **{PROOF_HEADER: "1", **headers}))

    for result in (begun, ended):
        assert_problem(result, 403, "cross_site_request")
        assert "set-cookie" not in result.headers


def test_ending_a_session_needs_the_pages_own_header(api: Api) -> None:
    token = api.add_key()

    refused = api.client.simulate_delete(SESSION, headers=cookie(token))
    done = api.client.simulate_delete(SESSION, headers=cookie(token, **{PROOF_HEADER: "console"}))

    assert_problem(refused, 403, "cross_site_request")
    assert done.status_code == 204
    assert said(done) == {
        f"{COOKIE}=": "Max-Age=0; Path=/api; HttpOnly; SameSite=Strict",
        f"{HOST_COOKIE}=": "Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure",
    }


@pytest.mark.parametrize(("query", "error"), [("tenant_id=globex", "tenant_id_rejected"), ("a=1", "unknown_parameter")])
def test_a_session_takes_no_parameter(api: Api, query: str, error: str) -> None:
    token = api.add_key()
    asked = {"headers": cookie(token, **{PROOF_HEADER: "1"}), "query_string": query}

    begun = api.client.simulate_post(SESSION, json={"api_key": token}, **asked)
    told = api.client.simulate_get(SESSION, **asked)
    ended = api.client.simulate_delete(SESSION, **asked)

    for result in (begun, told, ended):
        assert_problem(result, 400, error)
        assert "set-cookie" not in result.headers


def test_ending_without_a_session_is_no_error(api: Api) -> None:
    assert api.client.simulate_delete(SESSION).status_code == 204


def test_a_revoked_key_ends_its_sessions_within_five_seconds(api: Api) -> None:
    token = api.add_key()
    assert api.client.simulate_get(SESSION, headers=cookie(token)).status_code == 200
    with api.owner.begin() as conn:
        conn.execute(update(api_key).values(revoked_at=NOW))

    api.moment.pass_by(5)

    assert api.client.simulate_get(SESSION, headers=cookie(token)).status_code == 401


@pytest.fixture
def strict(owner: Engine, reader: Engine, authenticator: Engine) -> Api:
    """Return an application that lets an address fail three times a minute."""
    moment = Moment()
    around = AppDependencies(clock=moment.clock, timer=moment.timer)
    client = TestClient(create_app(reader, authenticator, Settings(rate_limit_logins=3), around))
    arranged = Api(client, owner, moment)
    arranged.clear()
    return arranged


@freeze_time(FAR)  # a limit is one of a minute, and another may begin between two requests
def test_wrong_keys_are_limited_and_right_ones_do_not_count(strict: Api) -> None:
    token = strict.add_key()
    wrong = "act_0000000000000000_" + "0" * 64

    for _ in range(5):
        assert log_in(strict, token).status_code == 204
    for _ in range(3):
        assert_problem(log_in(strict, wrong), 401, "unauthorized")
    refused = log_in(strict, token)

    assert_problem(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1


def test_neither_key_nor_cookie_is_in_the_log(owner: Engine, reader: Engine, authenticator: Engine) -> None:
    log = Paper()
    moment = Moment()
    around = AppDependencies(clock=moment.clock, timer=moment.timer, log=log)
    app = create_app(reader, authenticator, Settings(), around)
    api = Api(TestClient(app), owner, moment)
    api.clear()
    token = api.add_key()

    log_in(api, token)
    log_in(api, "act_0000000000000000_wrong")
    api.client.simulate_get(SESSION, headers=cookie(token))
    write_log(app)

    written = log.getvalue().decode()
    assert written.count("/api/v1/session") == 3
    assert token.rpartition("_")[2] not in written
    assert "wrong" not in written


def test_without_a_console_there_is_no_session(owner: Engine, reader: Engine, authenticator: Engine) -> None:
    client = TestClient(create_app(reader, authenticator, Settings(console=False), AppDependencies()))

    for path in (SESSION, "/console/", "/console"):
        assert client.simulate_get(path).status_code == 404
    assert client.simulate_get("/", headers={"Accept": "text/html"}).status_code == 200
    document: dict[str, Any] = client.simulate_get("/openapi.json").json
    assert "/console/{name}" not in document["paths"]
    assert "session" not in document["components"]["securitySchemes"]
    assert document["paths"][f"{PREFIX}/runs"]["get"]["security"] == [{"bearer": []}]
    del owner
