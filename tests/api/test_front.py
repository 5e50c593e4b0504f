"""Request middleware: names, bounds, repeated answers, the log (see `api.http.request_middleware`)."""

from __future__ import annotations

import errno
import gzip
import json
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from falcon.testing import TestClient, create_environ
from sqlalchemy import update

from api.app import AppDependencies, create_app
from api.http.answers import Answer, Asked
from api.http.log_writer import LogWriter
from api.http.metrics import Metrics
from api.http.request_middleware import MAX_BODY_BYTES
from api.http.request_recorder import RequestRecorder
from api.http.response_cache import MAX_KEY_CHARS
from api.queries.published import CACHE_TTL_S
from snapshots.settings import Settings
from snapshots.tables import api_key, snapshot
from tests.api.arrange import (
    EMPTY,
    LIVE_PATHS,
    NOW,
    PREFIX,
    SNAPSHOT_PATHS,
    TENANT,
    Api,
    Moment,
    Paper,
    bearer,
    queue_of,
    write_log,
)
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from api.http.request_middleware import RequestMiddleware

PATTERNS = SNAPSHOT_PATHS["patterns"]
QUEUE = SNAPSHOT_PATHS["attention"]
LONG = '{"patterns":[' + ",".join(f'{{"n":{number}}}' for number in range(500)) + "]}"


@pytest.fixture
def make_api(owner: Engine, reader: Engine, authenticator: Engine) -> Callable[..., Api]:
    """Return a factory of applications with other settings, over an empty database."""

    def make(log: Paper | None = None, **settings: Any) -> Api:  # noqa: ANN401  # Settings' fields
        moment = Moment()
        around = AppDependencies(clock=moment.clock, timer=moment.timer, log=log)
        made = Api(TestClient(create_app(reader, authenticator, Settings(**settings), around)), owner, moment)
        made.clear()
        return made

    return make


def test_an_answer_of_the_last_second_is_repeated_without_a_query(api: Api, statements: list[str]) -> None:
    api.verify("patterns")
    first = api.get(PATTERNS)
    statements.clear()

    again = api.get(PATTERNS)

    assert statements == []
    assert again.content == first.content
    assert {name: again.headers[name] for name in first.headers if name != "x-request-id"} == {
        name: value for name, value in first.headers.items() if name != "x-request-id"
    }


def test_a_repeated_answer_is_never_more_than_a_second_old(api: Api) -> None:
    api.verify("patterns")
    api.publish("patterns", '{"patterns":[]}', version=1)
    api.get(PATTERNS)
    with api.owner.begin() as conn:
        conn.execute(update(snapshot).values(version=2))
    # Asked for in between: what is kept does not grow younger by it.
    api.moment.pass_by(CACHE_TTL_S * 0.9)
    assert api.get(PATTERNS).json["snapshot"]["version"] == 1

    api.moment.pass_by(CACHE_TTL_S * 0.1)

    assert api.get(PATTERNS).json["snapshot"]["version"] == 2


def test_a_repeated_answer_tells_its_present_age(api: Api) -> None:
    api.verify("patterns", verified_at=NOW - timedelta(seconds=149.5))
    fresh = api.get(PATTERNS)
    api.moment.pass_by(0.9)

    assert (fresh.headers["snapshot-stale"], api.get(PATTERNS).headers["snapshot-stale"]) == ("?0", "?1")


def test_a_client_that_holds_the_content_gets_304_without_a_query(api: Api, statements: list[str]) -> None:
    api.verify("patterns")
    etag = api.get(PATTERNS).headers["etag"]
    statements.clear()

    result = api.get(PATTERNS, headers={"If-None-Match": etag})

    assert (result.status_code, result.content, statements) == (304, b"", [])
    assert result.headers["etag"] == etag
    assert result.headers["snapshot-stale"] == "?0"
    assert "content-type" not in result.headers


@pytest.mark.parametrize("held", ['W/"other"', "*", '"a", W/"b"', "garbage"])
def test_other_conditions_are_left_to_the_application(api: Api, held: str) -> None:
    api.verify("patterns")
    api.get(PATTERNS)

    assert api.get(PATTERNS, headers={"If-None-Match": held}).status_code == (304 if held == "*" else 200)


def test_answers_are_repeated_to_the_same_credential_and_query_alone(api: Api) -> None:
    api.verify("attention")
    content, items = queue_of(3)
    api.publish("attention", content, items=items)
    bare = api.add_key(capabilities=["activity.patterns"])
    assert len(api.get(QUEUE).json["queue"]) == 3

    assert len(api.get(f"{QUEUE}?limit=1").json["queue"]) == 1
    assert len(api.get(QUEUE, tenant="globex").json["queue"]) == 0
    assert api.client.simulate_get(QUEUE, headers=bearer(bare)).status_code == 403
    assert api.client.simulate_get(QUEUE).status_code == 401
    assert api.client.simulate_post(QUEUE, headers=bearer(bare)).status_code == 405


def test_an_answer_is_not_repeated_past_the_end_of_its_key(api: Api) -> None:
    api.verify("patterns")
    token = api.add_key(expires_at=NOW + timedelta(seconds=0.5))
    assert api.client.simulate_get(PATTERNS, headers=bearer(token)).status_code == 200

    api.moment.pass_by(0.5)

    assert api.client.simulate_get(PATTERNS, headers=bearer(token)).status_code == 401


def test_a_revoked_key_is_refused_within_five_seconds_however_busy_it_is(api: Api) -> None:
    api.verify("patterns")
    token = api.add_key()
    for _ in range(5):
        assert api.client.simulate_get(PATTERNS, headers=bearer(token)).status_code == 200
    with api.owner.begin() as conn:
        conn.execute(update(api_key).values(revoked_at=NOW))
    answers = []

    for _ in range(10):
        api.moment.pass_by(0.5)
        answers.append(api.client.simulate_get(PATTERNS, headers=bearer(token)).status_code)

    assert answers[-1] == 401


def test_what_a_request_brings_counts_among_what_is_kept(api: Api) -> None:
    api.verify("patterns")
    repeats = api.client.app._repeats  # type: ignore[attr-defined]  # noqa: SLF001  # what lies in memory
    held = []

    for number in range(200):
        origin = f"https://{number}.example/".ljust(MAX_KEY_CHARS // 2, "x")
        assert api.get(PATTERNS, headers={"Origin": origin}).status_code == 200
        held.append(sum(len(str(part)) for key in repeats._kept for part in key))  # noqa: SLF001  # as above

    assert max(held) <= 2**20


def test_an_answer_to_an_absurdly_long_request_is_not_kept(api: Api) -> None:
    api.verify("patterns")
    headers = {"Cookie": "theme=" + "x" * MAX_KEY_CHARS}
    repeats = api.client.app._repeats  # type: ignore[attr-defined]  # noqa: SLF001  # what lies in memory

    assert api.get(PATTERNS, headers=headers).status_code == 200

    assert repeats._kept == {}  # noqa: SLF001  # as above


def test_errors_are_not_repeated(api: Api) -> None:
    assert_problem(api.get(PATTERNS), 503, "snapshot_not_ready")
    api.verify("patterns")

    assert api.get(PATTERNS).status_code == 200


@pytest.mark.parametrize(
    ("accepted", "coding", "decode"),
    [
        ("gzip", "gzip", gzip.decompress),
        ("gzip, zstd", "zstd", lambda body: zstandard.ZstdDecompressor().decompress(body)),
        ("zstd;q=0, gzip;q=0.5", "gzip", gzip.decompress),
        ("br, identity", None, bytes),
        ("*", "zstd", lambda body: zstandard.ZstdDecompressor().decompress(body)),
        ("gzip;q=nonsense", None, bytes),
        ("", None, bytes),
    ],
)
def test_a_body_that_is_worth_it_is_sent_as_the_client_takes_it(
    api: Api, accepted: str, coding: str | None, decode: Callable[[bytes], bytes]
) -> None:
    api.verify("patterns")
    api.publish("patterns", LONG)
    plain = api.get(PATTERNS)

    for _ in ("answered", "repeated"):
        result = api.get(PATTERNS, headers={"Accept-Encoding": accepted})
        assert (result.headers.get("content-encoding"), decode(result.content)) == (coding, plain.content)
        assert result.headers["etag"] == plain.headers["etag"]
        assert result.headers["content-length"] == str(len(result.content))
        assert "Accept-Encoding" in result.headers["vary"]


def test_a_small_body_is_sent_as_it_is(api: Api) -> None:
    api.verify("patterns")

    result = api.get(PATTERNS, headers={"Accept-Encoding": "gzip"})

    assert len(EMPTY["patterns"]) < 1024
    assert "content-encoding" not in result.headers


def test_a_body_that_is_too_large_is_refused(api: Api) -> None:
    result = api.get(PATTERNS, body="x" * (MAX_BODY_BYTES + 1))

    assert_problem(result, 413, "body_too_large")


@pytest.mark.parametrize("length", ["-1", "1e9", "٣", "9" * 400, "9" * 5000])
def test_a_length_that_is_no_number_is_refused(api: Api, length: str) -> None:
    seen: list[str] = []
    environ = create_environ("/livez") | {"CONTENT_LENGTH": length}

    def start_response(status: str, *_: object) -> Callable[[bytes], object]:
        seen.append(status)
        return bytes

    # Called as a server would: the test client has no way to send such a length.
    body = b"".join(api.client.app(environ, start_response))

    assert [status[:3] for status in seen] == ["413"]
    assert json.loads(body)["error"] == "body_too_large"


def test_a_request_above_the_bound_is_refused_at_once(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(api_threads=1)
    api.verify("patterns")
    api.add_key()
    reached, go_on = threading.Event(), threading.Event()
    app = api.client.app

    def slow(_environ: dict[str, Any], start_response: Any) -> list[bytes]:  # noqa: ANN401  # WSGI's
        reached.set()
        go_on.wait(10)
        start_response("200 OK", [("content-type", "text/plain")])
        return [b""]

    inner, app._application = app._application, slow  # type: ignore[attr-defined]  # noqa: SLF001  # held up
    held = threading.Thread(target=lambda: api.client.simulate_get("/"))
    held.start()
    reached.wait(10)
    refused = api.client.simulate_get("/readyz")
    app._application = inner  # type: ignore[attr-defined]  # noqa: SLF001  # as it was
    alive = api.client.simulate_get("/livez")
    go_on.set()
    held.join()

    assert_problem(refused, 503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert alive.status_code == 200
    assert api.client.simulate_get("/readyz").status_code == 200


class _Full(Paper):
    """A log that cannot be written until somebody makes room."""

    is_full = True

    def write(self, lines: Any) -> int:  # noqa: ANN401  # a buffer
        """Fail as a disk without room does."""
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(lines)


def test_a_log_that_cannot_be_written_fails_no_request_and_is_counted(make_api: Callable[..., Api]) -> None:
    log = _Full()
    api = make_api(log)
    app: RequestMiddleware = api.client.app  # type: ignore[assignment]  # Falcon takes any application

    answers = {api.client.simulate_get("/livez").status_code for _ in range(200)}
    write_log(app)
    numbers = api.client.simulate_get("/metrics").text
    log.is_full = False
    api.client.simulate_get("/readyz")
    write_log(app)

    assert answers == {200}
    assert "activity_access_log_lines_lost_total 200.0" in numbers
    assert [line["path"] for line in log.lines()] == ["/metrics", "/readyz"]


def test_a_log_that_cannot_be_written_ends_no_housekeeping(caplog: pytest.LogCaptureFixture) -> None:
    closed, metrics = Paper(), Metrics()
    closed.close()
    records, calls, done = RequestRecorder(metrics, LogWriter(closed, metrics.count_lost_lines)), [], threading.Event()

    def forget() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("planted")
        done.set()

    records.note((0.0, 1.0, "one", Answer.of("200 OK", [], [], Asked("/", "GET", "/"))))
    records.keep_flushing(forget)

    assert done.wait(10)
    assert "planted" in caplog.text


def test_every_answer_is_a_line_of_the_log_without_query_and_secret(make_api: Callable[..., Api]) -> None:
    log = Paper()
    api = make_api(log)
    api.verify("patterns")
    token = api.add_key()

    for _ in ("answered", "repeated"):
        api.client.simulate_get(f"{PATTERNS}?", headers=bearer(token) | {"X-Request-Id": "mine"})
    api.client.simulate_get('/"\n\x00{', params={"api_key": "hunter2"})
    write_log(api.client.app)  # type: ignore[arg-type]  # Falcon takes any application

    lines = log.lines()
    assert [line["status"] for line in lines] == [200, 200, 404]
    assert [line.get("tenant_id") for line in lines] == [TENANT, TENANT, None]
    assert lines[0]["request_id"] == "mine"
    assert lines[2]["request_id"] not in {"", "mine"}
    assert lines[0].keys() >= {"time", "event", "method", "path", "duration_ms", "bytes", "key_id"}
    assert token.rpartition("_")[2].encode() not in log.getvalue()
    assert b"hunter2" not in log.getvalue()


@pytest.mark.parametrize("path", ["/livez", "/nothing", PATTERNS, *LIVE_PATHS])
def test_every_answer_has_the_headers_that_keep_browsers_safe(api: Api, path: str) -> None:
    headers = api.client.simulate_get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-request-id"]


def test_browsers_of_listed_origins_alone_may_read(make_api: Callable[..., Api]) -> None:
    api = make_api(cors_origins="https://ops.example.com, https://two.example.com")
    api.verify("patterns")
    answers = {}

    for origin in ("https://ops.example.com", "https://evil.example.com", None, "https://ops.example.com"):
        result = api.get(PATTERNS, headers={"Origin": origin} if origin else {})
        answers[origin] = result.headers.get("access-control-allow-origin")
        assert "ETag" in result.headers.get("access-control-expose-headers", "ETag")

    assert answers == {
        "https://ops.example.com": "https://ops.example.com",
        "https://evil.example.com": None,
        None: None,
    }


def test_a_browser_may_ask_whether_it_may_ask(make_api: Callable[..., Api]) -> None:
    api = make_api(cors_origins="https://ops.example.com")
    asked = {
        "Origin": "https://ops.example.com",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }

    result = api.client.simulate_options(f"{PREFIX}/patterns", headers=asked)

    assert result.status_code == 200
    assert "GET" in result.headers["access-control-allow-methods"]
    assert result.headers["access-control-allow-origin"] == "https://ops.example.com"
