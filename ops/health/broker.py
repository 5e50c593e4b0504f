"""Health of the broker: queues, the lock of the active beat, and the workers that answer."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final, cast

import redis
from kombu.exceptions import OperationalError

from ops.health.state import BrokerHealth, QueueHealth
from worker.app import SENT_AT, create_app
from worker.broker import eviction_policy
from worker.schedule import QUEUES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snapshots.settings import Settings

#: Where RedBeat keeps the lock of the active beat, below our key prefix.
BEAT_LOCK_KEY: Final = "activity:beat::lock"
#: Where Celery's transport keeps the messages that a worker has taken and not finished.
UNACKED_KEY: Final = "unacked"
UNACKED_INDEX_KEY: Final = "unacked_index"

#: Workers have so long to answer, and are asked no more often than that, seconds.
PING_TIMEOUT_S: Final = 1.0
PING_EVERY_S: Final = 15.0
_TIMEOUT_S: Final = 2
#: A broker that went away between two questions is not waited for.
_ONE_TRY: Final = {"max_retries": 1}


class Broker:
    """The broker of `settings`, asked again and again; not for several threads at a time."""

    def __init__(self, settings: Settings, timer: Callable[[], float] = time.monotonic) -> None:
        """Take the timer that says when workers are asked again."""
        self._timer = timer
        self._asked: tuple[float, Sequence[str]] | None = None
        if settings.broker_url is None:
            self._client = None
            return
        self._client = redis.Redis.from_url(
            settings.broker_url.get_secret_value(), socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        self._app = create_app(settings)

    def read(self) -> BrokerHealth:
        """Return what the broker tells; one that is away is no error."""
        if self._client is None:
            return BrokerHealth(is_configured=False)
        try:
            return self._read(self._client)
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            self._asked = None
            return BrokerHealth(refuses=True)
        except (redis.RedisError, OperationalError, OSError):
            self._asked = None
            return BrokerHealth()

    def _read(self, client: redis.Redis) -> BrokerHealth:
        now = time.time()
        left_ms = client.pttl(BEAT_LOCK_KEY)
        oldest = cast("list[tuple[bytes, float]]", client.zrange(UNACKED_INDEX_KEY, 0, 0, withscores=True))
        return BrokerHealth(
            answers=True,
            queues=[_queue(client, name, now) for name in QUEUES],
            unacked=client.hlen(UNACKED_KEY),
            unacked_oldest_s=max(0.0, now - oldest[0][1]) if oldest else None,
            workers=self._workers(),
            beat_lock_s=left_ms / 1000 if left_ms >= 0 else None,
            evicts=eviction_policy(client),
        )

    def _workers(self) -> Sequence[str]:
        """Return the names of the workers that answer, or answered a moment ago."""
        if self._asked is None or self._timer() - self._asked[0] >= PING_EVERY_S:
            # On a connection of its own: one from a pool may have been lost since.
            with self._app.connection_for_write(transport_options=_ONE_TRY) as connection:
                answers = self._app.control.ping(timeout=PING_TIMEOUT_S, connection=connection) or []
            self._asked = self._timer(), sorted(name for answer in answers for name in answer)
        return self._asked[1]


def _queue(client: redis.Redis, name: str, now: float) -> QueueHealth:
    """Return the state of a queue; messages enter on its left and leave on its right."""
    oldest = cast("bytes | None", client.lindex(name, -1))
    return QueueHealth(name, client.llen(name), None if oldest is None else _age(oldest, now))


def _age(message: bytes, now: float) -> float | None:
    """Return the age of a message, None where it does not tell; never negative, since clocks differ."""
    try:
        content: Any = json.loads(message)
        return max(0.0, now - float(content["headers"][SENT_AT]))
    except (ValueError, KeyError, TypeError):
        return None
