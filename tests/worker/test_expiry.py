"""A message is too old by the broker's clock, whatever the worker's says; a beat with another one does not ring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery.utils.imports import symbol_by_name
from freezegun import freeze_time
from kombu import Message

from snapshots import settings
from worker.app import create_app
from worker.broker import ClockError, ahead_s, check_clock
from worker.message_expiry import BrokerClock, TimedRequest
from worker.schedule import REFRESH

HOUR_S = 3600.0
OFF = (timedelta(hours=1), timedelta(hours=-1))


@pytest.fixture(autouse=True)
def unknown_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what an earlier test learnt of a broker's clock."""
    monkeypatch.setattr(TimedRequest, "clock", None)


def received(broker_url: str, expires: datetime) -> Any:  # noqa: ANN401  # celery has no types
    """Return a message as a worker makes it of what the broker delivers."""
    app = create_app(settings.load(broker_url=broker_url))
    headers = {"id": "1", "task": REFRESH, "expires": expires.isoformat()}
    message = Message("[[], {}, {}]", headers=headers, content_type="application/json", content_encoding="utf-8")
    return symbol_by_name(app.tasks[REFRESH].Request)(message, app=app)


@pytest.mark.parametrize("off", OFF)
def test_a_worker_whose_clock_is_off_drops_what_is_old_and_nothing_else(broker_url: str, off: timedelta) -> None:
    now = datetime.now(UTC)

    with freeze_time(now + off, tick=True):
        young, old = (received(broker_url, now + timedelta(seconds=age)) for age in (60, -60))
        judged = (young.maybe_expire(), old.maybe_expire())

    assert judged == (None, True)


@pytest.mark.parametrize("off", OFF)
def test_the_difference_is_measured(broker_url: str, off: timedelta) -> None:
    with freeze_time(datetime.now(UTC) + off, tick=True):
        assert ahead_s(broker_url) == pytest.approx(off.total_seconds(), abs=5)


def test_the_broker_is_asked_once_a_minute_and_its_silence_changes_nothing() -> None:
    asked: list[float] = []

    def ask() -> float:
        asked.append(HOUR_S)
        if len(asked) > 1:
            raise redis.ConnectionError
        return HOUR_S

    with freeze_time("2026-01-01T12:00:00Z") as frozen:
        clock = BrokerClock(ask)
        first, again = clock.now(), clock.now()
        frozen.tick(61)
        later = clock.now()

    assert first == again == datetime(2026, 1, 1, 11, tzinfo=UTC)
    assert later == first + timedelta(seconds=61)
    assert len(asked) == 2


@pytest.mark.parametrize("off", OFF)
def test_a_beat_whose_clock_is_off_refuses_to_ring(broker_url: str, off: timedelta) -> None:
    with freeze_time(datetime.now(UTC) + off, tick=True), pytest.raises(ClockError, match=r"clock: [+-]3\d\d\d s"):
        check_clock(broker_url)
    check_clock(broker_url)


def test_a_broker_that_does_not_answer_yet_is_let_be() -> None:
    check_clock("redis://127.0.0.1:1/0")
