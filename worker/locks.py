"""Advisory locks: one refresh per signal and shard at a time, whatever rang for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots.signals import SIGNALS

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The first half of our lock keys ("acti" in ASCII), so that a host's own advisory locks do not meet ours.
LOCK_CLASS: Final = 0x61637469

_KEYS: Final = "cast(:lock_class as integer), cast(:lock_key as integer)"


def _key(signal: str, shard: int) -> dict[str, int]:
    return {"lock_class": LOCK_CLASS, "lock_key": SIGNALS.index(signal) * 65_536 + shard}


def take(conn: Connection, signal: str, shard: int = 0) -> None:
    """Wait for the lock of (signal, shard), held until the transaction ends."""
    conn.execute(text(f"select pg_advisory_xact_lock({_KEYS})"), _key(signal, shard))


def try_take(conn: Connection, signal: str, shard: int = 0) -> bool:
    """Take the lock of (signal, shard) until the transaction ends, or return False at once."""
    return bool(conn.execute(text(f"select pg_try_advisory_xact_lock({_KEYS})"), _key(signal, shard)).scalar_one())
