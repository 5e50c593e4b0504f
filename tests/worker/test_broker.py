"""Checks of the broker before worker and beat start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from click.testing import CliRunner

from ops.commands.beat import beat
from worker.broker import BrokerEvictsKeysError, check_keeps_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def limited(broker_url: str) -> Iterator[Callable[[str], None]]:
    """Yield what gives the broker a limit of memory and a policy; both are gone afterwards."""
    with redis.Redis.from_url(broker_url) as client:

        def limit(policy: str) -> None:
            client.config_set("maxmemory", "1gb")
            client.config_set("maxmemory-policy", policy)

        yield limit
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


def test_a_broker_that_keeps_its_keys_is_fine(broker_url: str, limited: Callable[[str], None]) -> None:
    check_keeps_keys(broker_url)
    limited("noeviction")
    check_keeps_keys(broker_url)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_broker_that_drops_any_key_is_refused_and_the_remedy_is_named(
    broker_url: str, limited: Callable[[str], None], policy: str
) -> None:
    limited(policy)

    with pytest.raises(
        BrokerEvictsKeysError, match=rf"maxmemory-policy {policy}.*CONFIG SET maxmemory-policy noeviction"
    ):
        check_keeps_keys(broker_url)


def test_a_policy_without_a_limit_drops_nothing(broker_url: str, limited: Callable[[str], None]) -> None:
    limited("allkeys-lru")
    with redis.Redis.from_url(broker_url) as client:
        client.config_set("maxmemory", 0)

    check_keeps_keys(broker_url)


def test_a_broker_that_drops_only_keys_that_expire_is_warned_about(
    broker_url: str, limited: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    limited("volatile-lru")

    check_keeps_keys(broker_url)

    assert "maxmemory-policy volatile-lru may drop beat's lock" in caplog.text


def test_a_broker_that_does_not_answer_yet_is_waited_for_by_the_worker_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_keeps_keys("redis://:hunter2@127.0.0.1:1/0")

    assert "cannot be asked" in caplog.text
    assert "hunter2" not in caplog.text


def test_beat_does_not_start_on_a_broker_that_drops_its_schedule(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, limited: Callable[[str], None]
) -> None:
    monkeypatch.setenv("ACTIVITY_BROKER_URL", broker_url)
    limited("allkeys-lru")

    ended = CliRunner().invoke(beat)

    assert isinstance(ended.exception, BrokerEvictsKeysError)
