"""The issuer's public keys: read from a file or a real server on loopback, and renewed."""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from api.auth.fetching import MAX_BYTES
from api.auth.web_keys import FILE_PERIOD_S, TIMEOUT_S, UNKNOWN_PERIOD_S, URL_PERIOD_S, JsonWebKeys
from snapshots.errors import SettingsError
from tests.api.arrange import Moment
from tests.api.issuer import elliptic, key_set, rsa, serving

if TYPE_CHECKING:
    from pathlib import Path

FIRST = elliptic("first")
SECOND = elliptic("second")
#: Longer than anything here takes that comes to an end, seconds.
PATIENCE_S = 30


def kids(keys: JsonWebKeys, *names: str) -> list[str]:
    """Return those of `names` that are found for ES256."""
    return [name for name in names if keys.find(name, "ES256") is not None]


@pytest.fixture
def moment() -> Moment:
    """Return a clock that stands still."""
    return Moment()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with the first key."""
    made = tmp_path / "jwks.json"
    made.write_bytes(key_set(FIRST))
    return made


def replace(path: Path, content: bytes) -> None:
    """Put `content` where `path` is, as a deployment does: with another file of a later time."""
    other = path.with_suffix(".new")
    other.write_bytes(content)
    later = path.stat().st_mtime_ns + 1_000_000_000 if path.exists() else 0
    os.utime(other, ns=(later, later))
    other.replace(path)


def test_a_replaced_file_is_read_again_after_a_moment(path: Path, moment: Moment) -> None:
    keys = JsonWebKeys(str(path), moment.timer)
    replace(path, key_set(SECOND))

    moment.pass_by(FILE_PERIOD_S - 0.001)
    assert kids(keys, "first", "second") == ["first"]
    moment.pass_by(0.001)
    assert kids(keys, "first", "second") == ["second"]


def test_a_file_that_turns_malformed_or_goes_leaves_the_known_keys(
    path: Path, moment: Moment, caplog: pytest.LogCaptureFixture
) -> None:
    keys = JsonWebKeys(str(path), moment.timer)
    replace(path, b"{}")
    moment.pass_by(FILE_PERIOD_S)
    assert kids(keys, "first") == ["first"]
    path.unlink()
    moment.pass_by(FILE_PERIOD_S)
    assert kids(keys, "first") == ["first"]

    assert caplog.text.count(f"jwks: {path} could not be read, the known keys go on") == 2
    replace(path, key_set(SECOND))
    moment.pass_by(FILE_PERIOD_S)
    assert kids(keys, "first", "second") == ["second"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b"[" * 100_000,
        b" " * (MAX_BYTES + 1),
        json.dumps({"keys": [None, {}, {"kty": "RSA", "kid": "x"}, {"kty": [], "kid": "x"}]}).encode(),
        json.dumps({"keys": [{"kty": "oct", "kid": "x", "k": "c2VjcmV0"}]}).encode(),
        json.dumps({"keys": [{**FIRST.as_dict(private=False), "kid": ""}]}).encode(),
    ],
    ids=range(11),
)
def test_a_file_without_a_usable_key_is_refused_at_the_start(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(SettingsError, match=r"^ACTIVITY_JWT_JWKS: "):
        JsonWebKeys(str(path), Moment().timer)


def test_a_file_that_is_not_there_is_refused_at_the_start(path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^ACTIVITY_JWT_JWKS: .*No such file"):
        JsonWebKeys(f"{path}.other", Moment().timer)


@pytest.mark.parametrize(
    "members",
    [
        {"alg": "ES384"},
        {"alg": "RS256"},
        {"use": "enc"},
        {"use": "other"},
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"use": "sig", "key_ops": ["encrypt"]},
    ],
    ids=str,
)
def test_a_key_for_another_purpose_is_not_used(path: Path, members: dict[str, Any]) -> None:
    other = {**SECOND.as_dict(private=False), **members}
    path.write_bytes(json.dumps({"keys": [FIRST.as_dict(private=False), other]}).encode())

    assert kids(JsonWebKeys(str(path), Moment().timer), "first", "second") == ["first"]


def test_a_key_that_says_what_it_is_for_is_used_for_that(path: Path) -> None:
    members = {"alg": "ES256", "use": "sig", "key_ops": ["verify"]}
    path.write_bytes(json.dumps({"keys": [{**FIRST.as_dict(private=False), **members}]}).encode())
    keys = JsonWebKeys(str(path), Moment().timer)

    assert keys.find("first", "ES256") is not None
    assert keys.find("first", "ES384") is None
    assert keys.find("first", "RS256") is None
    assert keys.find("first", "HS256") is None


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_short_rsa_key_is_not_used(path: Path) -> None:
    path.write_bytes(key_set(rsa("strong"), rsa("weak", 2040)))
    keys = JsonWebKeys(str(path), Moment().timer)

    assert keys.find("strong", "RS256") is not None
    assert keys.find("weak", "RS256") is None


def test_keys_from_a_url_are_fetched_once_and_renewed_later(moment: Moment) -> None:
    with serving(key_set(FIRST)) as server:
        keys = JsonWebKeys(server.url, moment.timer)
        assert server.asked == []

        assert kids(keys, "first") == ["first"]
        server.body = key_set(SECOND)
        moment.pass_by(URL_PERIOD_S - 0.001)
        assert kids(keys, "first") == ["first"]
        assert len(server.asked) == 1
        moment.pass_by(0.001)

        assert kids(keys, "first", "second") == ["second"]
        assert len(server.asked) == 2


def test_an_unknown_key_is_asked_for_once_in_a_while(moment: Moment) -> None:
    with serving(key_set(FIRST)) as server:
        keys = JsonWebKeys(server.url, moment.timer)
        for number in range(20):
            assert kids(keys, f"guess {number}") == []
        assert len(server.asked) == 1

        server.body = key_set(FIRST, SECOND)
        moment.pass_by(UNKNOWN_PERIOD_S - 0.001)
        assert kids(keys, "second") == []
        moment.pass_by(0.001)
        assert kids(keys, "first", "second") == ["first", "second"]
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    "broken", [{"status": 500}, {"body": b"<html>"}, {"body": b" " * (MAX_BYTES + 1)}], ids=range(3)
)
def test_when_a_fetch_fails_the_known_keys_go_on(
    moment: Moment, caplog: pytest.LogCaptureFixture, broken: dict[str, Any]
) -> None:
    with serving(key_set(FIRST)) as server:
        keys = JsonWebKeys(server.url.replace("//", "//reader:hunter2@") + "?token=hunter3", moment.timer)
        assert kids(keys, "first") == ["first"]
        for name, value in broken.items():
            setattr(server, name, value)
        moment.pass_by(URL_PERIOD_S)

        assert kids(keys, "first") == ["first"]
        assert f"jwks: {server.url} could not be read, the known keys go on" in caplog.text
        assert "hunter" not in caplog.text


def test_userinfo_becomes_a_header(moment: Moment) -> None:
    with serving(key_set(FIRST)) as server:
        assert kids(JsonWebKeys(server.url.replace("//", "//reader:p%40ss@"), moment.timer), "first") == ["first"]

        assert server.asked[0]["Authorization"] == "Basic cmVhZGVyOnBAc3M="
        assert "@" not in server.asked[0]["Host"]


def test_a_server_that_is_away_at_the_start_is_asked_again(moment: Moment) -> None:
    with serving(key_set(FIRST)) as server:
        server.status = 503
        keys = JsonWebKeys(server.url, moment.timer)
        assert kids(keys, "first") == []
        server.status = 200
        moment.pass_by(UNKNOWN_PERIOD_S)

        assert kids(keys, "first") == ["first"]


def test_a_set_that_was_emptied_leaves_no_key(moment: Moment) -> None:
    with serving(key_set(FIRST)) as server:
        keys = JsonWebKeys(server.url, moment.timer)
        assert kids(keys, "first") == ["first"]
        server.body = key_set()
        moment.pass_by(URL_PERIOD_S)

        assert kids(keys, "first") == []


def test_a_redirect_to_another_host_is_not_followed(moment: Moment, caplog: pytest.LogCaptureFixture) -> None:
    with serving(key_set(FIRST)) as elsewhere, serving(b"") as server:
        server.status, server.location = 302, elsewhere.url

        assert kids(JsonWebKeys(server.url, moment.timer), "first") == []
        assert elsewhere.asked == []
        assert "redirected to another host" in caplog.text


def test_a_request_with_a_known_key_does_not_wait_for_another_s_fetch(moment: Moment) -> None:
    with serving(key_set(FIRST)) as server:
        keys = JsonWebKeys(server.url, moment.timer)
        assert kids(keys, "first") == ["first"]
        server.arrived.clear()
        server.may_answer.clear()
        moment.pass_by(URL_PERIOD_S)
        other = Thread(target=keys.find, args=("first", "ES256"))
        other.start()
        assert server.arrived.wait(10)

        assert kids(keys, "first") == ["first"]
        assert other.is_alive()
        moment.pass_by(TIMEOUT_S)
        assert kids(keys, "second") == []
        moment.pass_by(URL_PERIOD_S)
        assert kids(keys, "first") == ["first"]
        server.may_answer.set()
        other.join()
        assert len(server.asked) == 2


class Dripping:
    """A server on loopback that sends the first what it is told, then one thing for ever; the second gets a key."""

    def __init__(self, moment: Moment) -> None:
        """Listen, and let time of `moment` pass with each thing."""
        self._moment = moment
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/jwks.json"

    def drip(self, first: bytes, then: bytes, seconds: float) -> Thread:
        """Begin; `seconds` pass with each `then`."""
        thread = Thread(target=self._serve, args=(first, then, seconds), daemon=True)
        thread.start()
        return thread

    def _serve(self, first: bytes, then: bytes, seconds: float) -> None:
        with self._asked() as connection, suppress(OSError):
            connection.sendall(first)
            while True:
                self._moment.pass_by(seconds)
                connection.sendall(then)
        with self._listener, self._asked() as connection:
            body = key_set(FIRST)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def _asked(self) -> socket.socket:
        connection, _ = self._listener.accept()
        connection.recv(65_536)
        return connection


def renewal_ends() -> bool:
    """Wait for the renewal that runs, and tell whether it came to an end."""
    renewals = [thread for thread in threading.enumerate() if thread.name == "activity-jwks"]
    for thread in renewals:
        thread.join(PATIENCE_S)
    return not any(thread.is_alive() for thread in renewals)


OK = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n"
LARGE = b"X-Large: " + b"a" * 60_000 + b"\r\n"


@pytest.mark.parametrize(
    ("dripping", "reason"),
    [
        ((b"", b"H", 1), "not done within 10 s"),
        ((OK + b"X-Slow: ", b"a", 1), "not done within 10 s"),
        ((OK, b"X-Slow: a\r\n", 1), "not done within 10 s"),
        ((OK + b"Content-Length: 1000000\r\n\r\n", b" ", 1), "not done within 10 s"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 1), "not done within 10 s"),
        ((b"", CONTINUE + b"\r\n", 1), "not done within 10 s"),
        ((b"", CONTINUE + LARGE + b"\r\n", 0), f"more than {MAX_BYTES} bytes"),
        ((OK + b"\r\n", b" " * 60_000, 0), f"more than {MAX_BYTES} bytes"),
    ],
    ids=["status", "header", "headers", "body", "chunks", "continue", "large-continue", "large-body"],
)
def test_a_server_that_never_comes_to_an_end_is_given_up_and_asked_again(
    moment: Moment, caplog: pytest.LogCaptureFixture, dripping: tuple[bytes, bytes, float], reason: str
) -> None:
    server = Dripping(moment)
    serving_both = server.drip(*dripping)
    keys = JsonWebKeys(server.url, moment.timer)

    assert kids(keys, "first") == []
    assert renewal_ends()
    assert reason in caplog.text
    moment.pass_by(UNKNOWN_PERIOD_S)

    assert kids(keys, "first") == ["first"]
    serving_both.join(PATIENCE_S)
