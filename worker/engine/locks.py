"""Advisory locks: one refresh per signal and slot at a time.

They belong to an open transaction of a connection that does nothing else, and so they end with that connection, through
a pooler too (docs/adr/0015-locks-of-a-transaction.md). The transaction has no snapshot and holds back no VACUUM.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zlib import crc32

from psycopg2.errorcodes import LOCK_NOT_AVAILABLE, QUERY_CANCELED
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from snapshots.errors import sqlstate
from snapshots.signals import LOCK_CLASS, SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Engine

#: The keys under which workers of every version lock these three.
_FIRST_KEYS: Final = {"patterns": 0, "cost": SLOTS, "attention": 2 * SLOTS}
#: Blocks of keys for the other signals, as many as a 31-bit key has room for.
_BLOCKS: Final = 2**31 // (len(_FIRST_KEYS) * SLOTS) - 2

#: A server, role or database may end idle transactions, or long ones.
_STAY: Final = text("select set_config('idle_in_transaction_session_timeout', '0', true)")
_STAY_LONG: Final = text("select set_config('transaction_timeout', '0', true)")
_TRANSACTION_TIMEOUT_SINCE: Final = (17,)
_BOUND: Final = text("select set_config('statement_timeout', :wait, true), set_config('lock_timeout', '0', true)")
#: One after the other in the order given: who waits never holds what an earlier one in the queue waits for.
_KEYS: Final = (
    "cast(:lock_class as integer), cast(:first as integer) + slot) from unnest(cast(:slots as integer[])) as slot"
)
_WAIT: Final = text(f"select pg_advisory_xact_lock({_KEYS}")
_TRY: Final = text(f"select pg_try_advisory_xact_lock({_KEYS}")
_ALIVE: Final = text("select 1")
_PID: Final = text("select pg_backend_pid()")


@dataclass(frozen=True, slots=True)
class Held:
    """Locks that are held."""

    _conn: Connection

    @property
    def pid(self) -> int:
        """Return the backend process that holds them."""
        return int(self._conn.execute(_PID).scalar_one())

    def check(self) -> None:
        """Raise DBAPIError when the connection that holds the locks was lost, and the locks with it."""
        self._conn.execute(_ALIVE)


@contextmanager
def held(engine: Engine, signal: str, slots: Sequence[int], *, wait_s: float = 0) -> Iterator[Held | None]:
    """Hold the locks of `slots` (ascending) on a connection of their own.

    Yields None where one is taken, and not free within `wait_s` seconds. Without the latter, waits for nothing.
    """
    with engine.execution_options(isolation_level="READ COMMITTED").connect() as conn:
        is_taken = _take(conn, signal, slots, wait_s) if wait_s else _try(conn, signal, slots)
        yield Held(conn) if is_taken else None


def _stay(conn: Connection) -> None:
    """Keep the transaction open for as long as the locks are held. Takes no lock on any relation."""
    conn.execute(_STAY)
    if (conn.dialect.server_version_info or ()) >= _TRANSACTION_TIMEOUT_SINCE:
        conn.execute(_STAY_LONG)


def _take(conn: Connection, signal: str, slots: Sequence[int], wait_s: float) -> bool:
    _stay(conn)
    try:
        conn.execute(_BOUND, {"wait": f"{round(wait_s * 1000)}ms"})
        conn.execute(_WAIT, keys(signal, slots))
    except DBAPIError as ex:
        if sqlstate(ex) not in {QUERY_CANCELED, LOCK_NOT_AVAILABLE}:
            raise
        conn.rollback()
        return False
    return True


def _try(conn: Connection, signal: str, slots: Sequence[int]) -> bool:
    """Try the lowest first: of two that want the same slots, one gets them all."""
    _stay(conn)
    if all(all(conn.execute(_TRY, keys(signal, some)).scalars()) for some in (slots[:1], slots[1:])):
        return True
    conn.rollback()
    return False


def first_key(signal: str) -> int:
    """Return the key of slot 0 of a signal; the other slots follow. It depends on the signal's name alone."""
    known = _FIRST_KEYS.get(signal)
    return known if known is not None else (1 + crc32(signal.encode()) % _BLOCKS) * len(_FIRST_KEYS) * SLOTS


def keys(signal: str, slots: Sequence[int]) -> dict[str, object]:
    """Return the parameters that name the locks of `slots`."""
    return {"lock_class": LOCK_CLASS, "first": first_key(signal), "slots": list(slots)}
