"""Validity of the kept facts: the instant, the change capture and the rules that they hold for, by slot.

The rules are the query texts and every parameter (`Signal.rules`). After an upgrade or a changed setting the next
refresh is full. While workers with different rules run side by side, those that were replaced leave the facts alone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from sqlalchemy import SmallInteger, any_, cast, delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from snapshots.body import STALE_GRACE
from worker.engine.tables import fact_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from snapshots.settings import Settings
    from worker.signals.spec import SignalSpec

#: An instant, and the fingerprint of the triggers that have marked every change since; None where some change was not.
Capture = tuple["datetime", "str | None"]

#: The latest rule set first; without the one that takes over.
_REPLACED: Final = text(
    "(array_remove(array_prepend(md5(fact_state.rules), fact_state.replaced), md5(excluded.rules)))[1:8]"
)


def hold_since(
    conn: Connection, signal: SignalSpec, slots: Sequence[int], settings: Settings, present: Capture
) -> datetime | None:
    """Return the instant that the facts hold for, in the slot where it is earliest; None when they must be made anew.

    They must when some slot has none, when a change since may be unmarked, when the rules are other ones, and when the
    database's clock was set back.
    """
    now, capture = present
    known = select(func.count(), func.min(fact_state.c.as_of)).where(
        _of(signal, slots),
        fact_state.c.capture == literal(capture),
        fact_state.c.rules == signal.rules(settings),
        fact_state.c.as_of <= now,
    )
    count, as_of = conn.execute(known).one()
    return as_of if count == len(slots) else None


def are_other(conn: Connection, signal: SignalSpec, slots: Sequence[int], settings: Settings) -> bool:
    """Tell whether some slot's facts were made with other rules: by another version, or under other settings."""
    other = select(fact_state.c.slot).where(_of(signal, slots), fact_state.c.rules != signal.rules(settings))
    return conn.execute(other.limit(1)).first() is not None


def are_replaced(conn: Connection, signal: SignalSpec, slots: Sequence[int], settings: Settings) -> bool:
    """Tell whether rules that replaced our own made the facts of some slot, and made them lately.

    A worker that then recomputed them would undo the work of a newer worker, which would redo it, without end. Once no
    such worker has refreshed the slot until its snapshots are stale, the rules here take over: a rollback.
    """
    limit = 2 * settings.period_s(signal.name) + STALE_GRACE.total_seconds()
    age_s = func.extract("epoch", func.clock_timestamp() - fact_state.c.as_of)
    own = hashlib.md5(signal.rules(settings).encode(), usedforsecurity=False).hexdigest()
    lately = fact_state.c.rules != signal.rules(settings), age_s.between(0, limit)
    newer = select(fact_state.c.slot).where(_of(signal, slots), *lately, literal(own) == any_(fact_state.c.replaced))
    return conn.execute(newer.limit(1)).first() is not None


def remember(conn: Connection, signal: SignalSpec, slots: Sequence[int], settings: Settings, present: Capture) -> None:
    """Write down what the facts of `slots` hold for from now on."""
    as_of, capture = present
    values = {
        "signal": literal(signal.name),
        "slot": func.unnest(cast(list(slots), ARRAY(SmallInteger))),
        "as_of": literal(as_of),
        "capture": literal(capture),
        "rules": literal(signal.rules(settings)),
    }
    statement = insert(fact_state).from_select(list(values), select(*values.values()))
    moved = {name: statement.excluded[name] for name in ("as_of", "capture", "rules")}
    conn.execute(
        statement.on_conflict_do_update(index_elements=["signal", "slot"], set_={**moved, "replaced": _REPLACED})
    )


def invalidate(conn: Connection, signal: SignalSpec, slots: Sequence[int]) -> None:
    """Have the next refresh read every row, and keep the rules that the facts were made with."""
    conn.execute(update(fact_state).where(_of(signal, slots)).values(capture=""))


def forget(conn: Connection, signal: SignalSpec, slots: Sequence[int]) -> None:
    """Have the next refresh read every row: the changes are no longer captured."""
    conn.execute(delete(fact_state).where(_of(signal, slots)))


def _of(signal: SignalSpec, slots: Sequence[int]) -> ColumnElement[bool]:
    return (fact_state.c.signal == signal.name) & fact_state.c.slot.in_(slots)
