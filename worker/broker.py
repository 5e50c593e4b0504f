"""Broker checks: no eviction of keys; and the broker's clock, which senders and receivers of messages share."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final, cast

import redis

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

_KEEPS: Final = "noeviction"
_ADVICE: Final = "run CONFIG SET maxmemory-policy noeviction there, and keep it in its configuration"


#: A beat whose clock is further off rings for messages that are too old when they come, seconds.
_CLOCK_S: Final = 10.0


class ClockError(ActivityError):
    """This machine's clock is not the broker's."""


class BrokerEvictsKeysError(ActivityError):
    """The broker drops any key when its memory is full: an entry of beat's schedule would never ring again."""


def eviction_policy(client: redis.Redis) -> str | None:
    """Return the policy by which the broker drops keys, None where it drops none. Raises redis.RedisError."""
    memory = cast("Mapping[str, Any]", client.info("memory"))  # the stub allows for an awaitable
    policy = str(memory.get("maxmemory_policy", _KEEPS))
    return policy if memory.get("maxmemory") and policy != _KEEPS else None


def check_keeps_keys(url: str) -> None:
    """Raise BrokerEvictsKeysError where the broker at `url` may drop keys that never expire.

    One that drops only keys that expire is warned about; one that does not answer yet, or does not tell, is let be.
    """
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            policy = eviction_policy(client)
    except redis.RedisError:
        _log.warning("broker: its maxmemory-policy cannot be asked for; expected noeviction")
        return
    if policy is None:
        return
    if not policy.startswith("volatile-"):
        raise BrokerEvictsKeysError(f"broker: maxmemory-policy {policy} drops any key; {_ADVICE}")
    _log.warning("broker: maxmemory-policy %s may drop beat's lock; %s", policy, _ADVICE)


def ahead_s(url: str) -> float:
    """Return by how many seconds this process's clock is ahead of the broker's. Raises redis.RedisError."""
    with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
        before = time.time()
        seconds, microseconds = cast("tuple[int, int]", client.time())
        return (before + time.time()) / 2 - (seconds + microseconds / 1e6)


def check_clock(url: str) -> None:
    """Raise ClockError where this clock is not the broker's at `url`; one that does not answer yet is let be.

    Beat's schedule holds instants that other beats have written, and its messages expire at instants of its own.
    """
    try:
        off_s = ahead_s(url)
    except redis.RedisError:
        _log.warning("broker: its clock cannot be asked for")
        return
    if abs(off_s) > _CLOCK_S:
        raise ClockError(f"clock: {off_s:+.0f} s from the broker's; set this machine's clock, or the broker's, right")
