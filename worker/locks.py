"""Advisory locks: one refresh per signal and slot at a time, whatever rang for it.

They belong to the session, since an attempt is several transactions; a session that ends lets go of them (ADR 0005).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots.signals import SIGNALS, SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

#: The first half of our lock keys ("acti" in ASCII), so that a host's own advisory locks do not meet ours.
LOCK_CLASS: Final = 0x61637469

#: One after the other in the order given: who waits never holds what an earlier one in the queue waits for.
_KEYS: Final = (
    "cast(:lock_class as integer), cast(:first as integer) + slot) from unnest(cast(:slots as integer[])) as slot"
)
_WAIT: Final = text(f"select pg_advisory_lock({_KEYS}")
_TRY: Final = text(f"select pg_try_advisory_lock({_KEYS}")


@contextmanager
def held(conn: Connection, signal: str, slots: Sequence[int], *, waits: bool = True) -> Iterator[bool]:
    """Hold the locks of `slots` (ascending), yielding False at once where one is taken and `waits` is not set.

    `conn` is outside a transaction before and after. A connection that cannot let go is closed, which does.
    """
    try:
        yield _take(conn, signal, slots) if waits else _try(conn, signal, slots)
    finally:
        _let_go(conn)


def _take(conn: Connection, signal: str, slots: Sequence[int]) -> bool:
    with conn.begin():
        conn.execute(_WAIT, _keys(signal, slots))
    return True


def _try(conn: Connection, signal: str, slots: Sequence[int]) -> bool:
    """Try the lowest first: of two that want the same slots, one gets them all."""
    with conn.begin():
        return all(all(conn.execute(_TRY, _keys(signal, some)).scalars()) for some in (slots[:1], slots[1:]))


def _keys(signal: str, slots: Sequence[int]) -> dict[str, object]:
    return {"lock_class": LOCK_CLASS, "first": SIGNALS.index(signal) * SLOTS, "slots": list(slots)}


def _let_go(conn: Connection) -> None:
    """Let go of every lock of the session; it holds no others."""
    if conn.invalidated or conn.closed:
        return
    try:
        conn.rollback()
        conn.execute(text("select pg_advisory_unlock_all()"))
        conn.commit()
    except Exception:
        conn.invalidate()
        raise
