"""Message expiry by the broker's clock: a worker whose own clock is wrong must not drop young messages."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import redis
from celery import Task, current_app
from celery.worker.request import Request
from celery.worker.state import revoked

from worker.broker import ahead_s

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

#: How long a comparison with the broker's clock holds, seconds.
_HOLDS_S: Final = 60.0
#: From this difference on it is worth a warning, seconds.
_WARN_S: Final = 5.0


class BrokerClock:
    """The broker's time, as far as it was told: one question a minute at most."""

    def __init__(self, ask: Callable[[], float]) -> None:
        """Take what returns by how many seconds this process's clock is ahead; it may raise redis.RedisError."""
        self._ask = ask
        self._ahead = timedelta()
        self._asked_at: float | None = None

    def now(self) -> datetime:
        """Return the broker's time; by this process's clock while the broker has never told."""
        if self._asked_at is None or time.monotonic() - self._asked_at > _HOLDS_S:
            self._compare()
        return datetime.now(UTC) - self._ahead

    def _compare(self) -> None:
        self._asked_at = time.monotonic()
        try:
            found_s = self._ask()
        except redis.RedisError:
            return
        self._ahead = timedelta(seconds=found_s)
        if abs(found_s) > _WARN_S:
            _log.warning("this clock is %.0f s ahead of the broker's: set it right", found_s)


class TimedRequest(Request):
    """A message as the worker receives it."""

    clock: BrokerClock | None = None

    def maybe_expire(self) -> Literal[True] | None:
        """Drop the message where it has expired by the broker's clock, which beat's is too (worker.broker)."""
        if self.expires and self._clock().now() > self.expires:
            revoked.add(self.id)
            return True
        return None

    def _clock(self) -> BrokerClock:
        if TimedRequest.clock is None:
            url = str((self.app or current_app).conf.broker_url)
            TimedRequest.clock = BrokerClock(lambda: ahead_s(url))
        return TimedRequest.clock


class TimedTask(Task):  # type: ignore[type-arg]  # any task's
    """The base of every task."""

    Request = "worker.message_expiry:TimedRequest"
