"""Rate limits per key: snapshot reads are counted in this process, live queries over all processes.

Counting is the `limits` library's. A snapshot read takes a few microseconds, less than counting one does, so those are
drawn from the counter in small portions and handed out from memory.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from ipaddress import IPv4Address, IPv6Network, ip_address
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from api.http.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from limits.strategies import RateLimiter

    from snapshots.settings import Settings

#: A portion is this part of the limit: so much more than the limit may pass where two windows meet.
_PORTIONS: Final = 100
#: Keys whose portions are remembered; more, and all draw anew.
_REMEMBERED_KEYS: Final = 10_000
#: Counts of wrong credentials that are remembered; more, and all begin anew.
MAX_NETWORKS: Final = 10_000
#: As long a prefix of IPv6 as one caller is given, bits.
_OWN_PREFIX: Final = 64
#: A count in Redis may not hold up the request, seconds.
_REDIS_TIMEOUT_S: Final = 0.2
#: After a failure Redis is left alone for this long, seconds; each process counts by itself meanwhile.
_REDIS_PAUSE_S: Final = 5.0

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Limit(Protocol):
    """Bound on the requests of one key."""

    def check(self, key_id: str) -> None:
        """Count a request of `key_id`. Raises ProblemError (429) when it is one too many."""


class PortionedLimit:
    """A limit per minute that is counted in this process, a portion at a time."""

    def __init__(self, per_minute: int) -> None:
        """Take the number of requests that one key may make in a minute."""
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._item = RateLimitItemPerMinute(per_minute)
        self._portion = max(1, per_minute // _PORTIONS)
        self._left: dict[str, int] = {}

    def take(self, key_id: str) -> bool:
        """Count a request of `key_id` and return whether it may pass."""
        # Two threads may read the same number: one request more passes, which a limit of this kind may allow.
        left = self._left.get(key_id, 0) or self._draw(key_id)
        self._left[key_id] = max(0, left - 1)
        return left > 0

    def check(self, key_id: str) -> None:
        """Count a request of `key_id`. Raises ProblemError (429) when it is one too many."""
        if not self.take(key_id):
            raise _refused(self._limiter, self._item, key_id)

    def _draw(self, key_id: str) -> int:
        if len(self._left) >= _REMEMBERED_KEYS:
            self._left.clear()
        return self._portion if self._limiter.hit(self._item, key_id, cost=self._portion) else 0


class SharedLimit:
    """A limit per minute that all processes count together in Redis; without it, each counts by itself."""

    def __init__(self, per_minute: int, url: str | None, timer: Callable[[], float] = time.monotonic) -> None:
        """Take the number of requests that one key may make in a minute, and where they are counted."""
        self._item = RateLimitItemPerMinute(per_minute)
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = None if url is None else SlidingWindowCounterRateLimiter(_redis(url))
        self._timer = timer
        self._paused_until = -math.inf

    def check(self, key_id: str) -> None:
        """Count a request of `key_id`. Raises ProblemError (429) when it is one too many."""
        if self._shared is not None and self._timer() >= self._paused_until:
            try:
                return self._count(self._shared, key_id)
            except StorageError as ex:
                self._pause(ex)
        return self._count(self._own, key_id)

    def _count(self, limiter: RateLimiter, key_id: str) -> None:
        if not limiter.hit(self._item, key_id):
            raise _refused(limiter, self._item, key_id)

    def _pause(self, ex: StorageError) -> None:
        self._paused_until = self._timer() + _REDIS_PAUSE_S
        _log.warning("rate limit: Redis does not answer (%s); counting per process", type(ex.storage_error).__name__)


class FailureLimit:
    """A limit per minute of wrong credentials from one address: right ones never count.

    Of IPv6 a /64 counts as one address, which is what one caller has to choose from. Of attempts at the same time no
    more are let through than may fail.
    """

    def __init__(self, per_minute: int, *, networks: int = MAX_NETWORKS) -> None:
        """Take the failures that one address may cause in a minute, in this process, and how many are remembered."""
        self._networks = networks
        self._item = RateLimitItemPerMinute(per_minute)
        self._forget()
        self._under_way: Counter[str] = Counter()
        self._lock = Lock()

    @property
    def remembered(self) -> int:
        """Number of counts kept: at most one per address and window of a minute."""
        return len(self._storage.storage)

    def bounded(self, address: str, attempt: Callable[[], T | None]) -> T | None:
        """Return what `attempt` finds; None is a failure of `address`, an exception is none.

        Raises ProblemError (429), and attempts nothing, when `address` has failed too often.
        """
        network = _network(address)
        self._admit(network)
        has_failed = False
        try:
            found = attempt()
            has_failed = found is None
        finally:
            self._end(network, has_failed=has_failed)
        return found

    def _admit(self, network: str) -> None:
        with self._lock:
            if not self._limiter.test(self._item, network, cost=self._under_way[network] + 1):
                raise _refused(self._limiter, self._item, network)
            self._under_way[network] += 1

    def _end(self, network: str, *, has_failed: bool) -> None:
        with self._lock:
            self._under_way[network] -= 1
            if not self._under_way[network]:
                del self._under_way[network]
            if has_failed:
                self._count(network)

    def _count(self, network: str) -> None:
        if self.remembered >= self._networks:
            self._forget()
        self._limiter.hit(self._item, network)

    def _forget(self) -> None:
        # A new one: the library's own thread may be walking through the old one, which emptying it would break.
        self._storage = MemoryStorage()
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)


class LiveSlots:
    """The live queries that run at a time: one more is refused at once, rather than kept waiting."""

    def __init__(self, slots: int) -> None:
        """Take how many may run at a time in this process."""
        self._slots = BoundedSemaphore(slots)

    def __enter__(self) -> None:
        """Take a slot. Raises ProblemError (503) when none is free."""
        if not self._slots.acquire(blocking=False):
            raise overloaded()

    def __exit__(self, *_: object) -> None:
        """Give the slot back."""
        self._slots.release()


def overloaded() -> ProblemError:
    """Return the 503 for a request that would have to wait for others."""
    return ProblemError(503, "overloaded", "Too many requests are being answered; try again shortly.")


def live_limit(settings: Settings, timer: Callable[[], float] = time.monotonic) -> SharedLimit:
    """Return the limit of live queries that `settings` ask for."""
    url = settings.rate_limit_url
    return SharedLimit(settings.rate_limit_live, None if url is None else url.get_secret_value(), timer)


def _redis(url: str) -> RedisStorage:
    return RedisStorage(
        url,
        key_prefix="activity:limits",
        wrap_exceptions=True,
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
    )


def _network(address: str) -> str:
    """Return what `address` is counted under; one that is none by itself."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((found, _OWN_PREFIX), strict=False))


def _refused(limiter: RateLimiter, item: RateLimitItemPerMinute, key_id: str) -> ProblemError:
    """Return the 429, which says when to try again."""
    wait_s = max(1, math.ceil(limiter.get_window_stats(item, key_id).reset_time - time.time()))
    detail = f"More than {item.amount} requests in a minute; try again in {wait_s} s."
    return ProblemError(429, "rate_limited", detail, headers={"Retry-After": str(wait_s)}, limit_per_minute=item.amount)
