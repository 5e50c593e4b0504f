"""A short-lived, bounded, thread-safe cache: what a process may remember for a moment."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from cachetools import TTLCache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

V = TypeVar("V")


class ShortCache(Generic[V]):
    """Values that are forgotten after `ttl_s` seconds, or earlier when all of them together outweigh `capacity`."""

    def __init__(
        self,
        capacity: int,
        ttl_s: float,
        *,
        timer: Callable[[], float] = time.monotonic,
        weigh: Callable[[V], int] = lambda _: 1,
    ) -> None:
        """Take the clock as `timer`, and the weight of a value from `weigh`."""
        self._entries: TTLCache[Hashable, V] = TTLCache(capacity, ttl_s, timer, weigh)
        self._capacity = capacity
        self._weigh = weigh
        self._lock = Lock()

    def get(self, key: Hashable) -> V | None:
        """Return the value kept for `key`, or None."""
        with self._lock:
            return self._entries.get(key)

    def keep(self, key: Hashable, value: V) -> V:
        """Keep `value` for `key`, unless it alone is too heavy, and return it."""
        if self._weigh(value) <= self._capacity:
            with self._lock:
                self._entries[key] = value
        return value
