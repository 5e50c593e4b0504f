"""Rate limits per key (see `api.auth.limits`)."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from falcon.testing import TestClient
from freezegun import freeze_time

from api.app import AppDependencies, create_app
from api.auth.limits import FailureLimit, LiveSlots, PortionedLimit, SharedLimit
from api.http.problems import ProblemError
from ops.local.embedded.valkey import ValkeyServer
from snapshots.errors import DatabaseUnavailableError
from snapshots.settings import Settings
from tests.api.arrange import FAR, LIVE_PATHS, SNAPSHOT_PATHS, Api, Moment, bearer
from tests.api.contract import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

PATTERNS = SNAPSHOT_PATHS["patterns"]


def passed(limit: PortionedLimit | SharedLimit, key_id: str, requests: int) -> int:
    """Return how many of `requests` of a key may pass."""
    return sum(is_passed(limit, key_id) for _ in range(requests))


def is_passed(limit: PortionedLimit | SharedLimit, key_id: str) -> bool:
    """Return whether a request may pass; one that may not is told when to come back."""
    try:
        limit.check(key_id)
    except ProblemError as ex:
        problem = ex
    else:
        return True
    assert (problem.status, problem.error) == (429, "rate_limited")
    assert 1 <= int(problem.headers["Retry-After"]) <= 120
    return False


@pytest.fixture
def in_one_minute() -> Iterator[None]:
    """Let no time pass: a limit is one of a minute, and another may begin between two requests."""
    with freeze_time(FAR):
        yield


@pytest.fixture
def limited(owner: Engine, reader: Engine, authenticator: Engine, in_one_minute: None) -> Api:
    """Return an application that allows three requests of each kind per minute and key."""
    del in_one_minute
    moment = Moment()
    settings = Settings(rate_limit_snapshots=3, rate_limit_live=3)
    app = create_app(reader, authenticator, settings, AppDependencies(clock=moment.clock, timer=moment.timer))
    api = Api(TestClient(app), owner, moment)
    api.clear()
    return api


@pytest.mark.parametrize("per_minute", [1, 3, 99, 100, 250, 6000])
def test_a_key_passes_as_often_as_its_limit_says(per_minute: int) -> None:
    with freeze_time(FAR):
        assert passed(PortionedLimit(per_minute), "one", per_minute * 2) == per_minute


def test_keys_do_not_share_a_limit() -> None:
    with freeze_time(FAR):
        limit = PortionedLimit(10)

        assert [passed(limit, key, 20) for key in ("one", "two")] == [10, 10]


def test_a_minute_later_a_key_may_ask_again() -> None:
    with freeze_time(FAR) as frozen:
        limit = PortionedLimit(200)
        assert passed(limit, "one", 300) == 200

        frozen.tick(121)

        assert passed(limit, "one", 300) == 200


@pytest.mark.usefixtures("in_one_minute")
def test_processes_count_live_queries_together(valkey_url: str) -> None:
    key = "together"
    processes = [SharedLimit(10, valkey_url) for _ in range(3)]

    assert sum(passed(process, key, 10) for process in processes) == 10


@pytest.mark.usefixtures("in_one_minute")
def test_without_redis_each_process_counts_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    moment = Moment()
    limit = SharedLimit(10, "redis://:hunter2@127.0.0.1:1/0", moment.timer)

    assert passed(limit, "one", 20) == 10
    # One attempt, not one per request.
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text


def test_a_redis_that_comes_back_is_used_again(private_folder: Path) -> None:
    moment = Moment()
    valkey = ValkeyServer(private_folder / "limits")
    valkey.start()
    limit = SharedLimit(10, valkey.url, moment.timer)
    with freeze_time(FAR):
        assert passed(limit, "one", 5) == 5
    valkey.stop()
    with freeze_time(FAR):
        assert passed(limit, "one", 20) == 10
    valkey.start()

    moment.pass_by(10)
    with freeze_time(FAR):
        together = passed(limit, "two", 6) + passed(SharedLimit(10, valkey.url), "two", 6)
    valkey.stop()

    assert together == 10


@pytest.mark.parametrize("path", [PATTERNS, LIVE_PATHS[0]])
def test_a_request_too_many_is_told_when_to_come_back(limited: Api, path: str) -> None:
    limited.verify("patterns")
    answers = [limited.get(path) for _ in range(4)]

    assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
    document = assert_problem(answers[3], 429, "rate_limited")
    assert document["limit_per_minute"] == 3
    assert int(answers[3].headers["retry-after"]) >= 1


def test_repeated_and_unchanged_answers_count_too(limited: Api) -> None:
    limited.verify("patterns")
    etag = limited.get(PATTERNS).headers["etag"]

    held = {"If-None-Match": etag}
    assert [limited.get(PATTERNS, headers=held).status_code for _ in range(4)] == [304, 304, 429, 429]


def test_live_queries_and_snapshots_are_counted_apart(limited: Api) -> None:
    limited.verify("patterns")
    assert [limited.get(LIVE_PATHS[0]).status_code for _ in range(4)][-1] == 429

    assert limited.get(PATTERNS).status_code == 200


def test_who_has_no_key_uses_nobody_s_limit(limited: Api) -> None:
    limited.verify("patterns")
    token = limited.add_key()
    forged = token[:-1] + ("0" if token[-1] != "0" else "1")

    assert {limited.client.simulate_get(PATTERNS, headers=bearer(forged)).status_code for _ in range(9)} == {401}
    assert limited.client.simulate_get(PATTERNS, headers=bearer(token)).status_code == 200


def test_a_live_query_above_the_slots_is_refused_and_one_after_them_passes() -> None:
    slots = LiveSlots(1)

    with slots, pytest.raises(ProblemError) as caught, slots:
        pass
    with slots:
        assert caught.value.error == "overloaded"


def tried(limit: FailureLimit, address: str, found: str | None = None) -> bool:
    """Return whether an attempt of `address`, wrong unless it finds something, is let through."""
    try:
        limit.bounded(address, lambda: found)
    except ProblemError:
        return False
    return True


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("no address", "no address", True),
    ],
)
def test_wrong_credentials_are_counted_by_what_one_caller_has_of_addresses(
    one: str, other: str, *, is_shared: bool
) -> None:
    with freeze_time(FAR):
        limit = FailureLimit(2)
        assert [tried(limit, one) for _ in range(3)] == [True, True, False]

        assert tried(limit, other) is not is_shared


def test_wrong_credentials_at_the_same_time_do_not_pass_the_limit() -> None:
    with freeze_time(FAR):
        limit, together, let_through = FailureLimit(2), threading.Barrier(8, timeout=10), []

        def attempt() -> None:
            let_through.append(1)
            # Whoever is let through waits for the others, who have been refused or stand here as well.
            go_on.wait(10)

        def run() -> None:
            together.wait()
            with contextlib.suppress(ProblemError):
                limit.bounded("192.0.2.1", attempt)
            refused.release()

        go_on, refused = threading.Event(), threading.Semaphore(0)
        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(6):
            assert refused.acquire(timeout=10)
        go_on.set()
        for thread in threads:
            thread.join()

        assert len(let_through) == 2


def test_an_attempt_that_could_not_be_judged_does_not_count() -> None:
    def fail() -> None:
        raise DatabaseUnavailableError("planted")

    with freeze_time(FAR):
        limit = FailureLimit(1)
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError):
                limit.bounded("192.0.2.1", fail)
            assert tried(limit, "192.0.2.1", "somebody")

        assert [tried(limit, "192.0.2.1") for _ in range(2)] == [True, False]


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    with freeze_time(FAR):
        limit = FailureLimit(1, networks=20)

        for number in range(50):
            assert tried(limit, f"2001:db8:0:{number:x}::1")

        assert limit.remembered <= 20
        assert not tried(limit, f"2001:db8:0:{49:x}::5")
