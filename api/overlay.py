"""What stands beside a stored item when it is read: its fingerprint, its movement and its triage.

The stored texts are joined, never parsed: an item is a JSON object, and what it carries is put before its last brace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, Text, and_, case, cast, func, literal_column, select

from api.wire import instant_text
from snapshots.movement import item_state, signal_change
from snapshots.triage import triage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Row, ScalarSelect

#: Where a mark holds the fingerprint.
_FINGERPRINT: Final = slice(15, 47)
_NOTHING: Final = ("open", "null")
#: Items that left in the last day are named up to this many, the latest first.
MAX_LEFT: Final = 100


@dataclass(frozen=True, slots=True)
class Overlay:
    """What a list's items carry. `marks` and `entered` are in the order of the items, `refreshes` counts the slot's.

    `day` maps fingerprints to their movement since 24 hours ago, where there was any; `departed` and `left` are what
    left with this version and in 24 hours, as JSON. `triage` maps fingerprints to a state and the member as JSON.
    """

    marks: Sequence[str]
    entered: Sequence[int]
    refreshes: int
    departed: str
    left: str
    day: Mapping[str, str] = field(default_factory=dict)
    triage: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        """About how many bytes it takes to remember."""
        apart = 100 * len(self.day) + 400 * len(self.triage)
        return 200 * len(self.marks) + apart + len(self.departed) + len(self.left)

    def item(self, place: int, text: str) -> str:
        """Return the item `text`, which stands at `place` (from 0), with what it carries."""
        mark = self.marks[place]
        present = max(1, self.refreshes - self.entered[place] + 1)
        fingerprint = mark[_FINGERPRINT]
        since = self.day.get(fingerprint, "same")
        said = self.triage.get(fingerprint, _NOTHING)[1]
        return f'{text[:-1]},{mark},"refreshes_present":{present},"since_24h":"{since}"}},"triage":{said}}}'

    def is_snoozed(self, place: int) -> bool:
        """Tell whether the item at `place` is not to be shown to those who hide what is snoozed."""
        return self.triage.get(self.marks[place][_FINGERPRINT], _NOTHING)[0] == "snoozed"

    def page(self, items: Sequence[str], limit: int, *, hides: bool) -> tuple[str, int]:
        """Return the first `limit` of `items`, joined, and how many were taken out before, since they are snoozed."""
        if not hides:
            return ",".join(self.item(place, text) for place, text in enumerate(items[:limit])), 0
        shown = [place for place in range(len(items)) if not self.is_snoozed(place)]
        return ",".join(self.item(place, items[place]) for place in shown[:limit]), len(items) - len(shown)

    def member(self) -> str:
        """Return the `movement` member of the body."""
        return f'"movement":{{"left_since_previous":{self.departed},"left_24h":{self.left}}}'

    def tag(self) -> str:
        """Return what differs when the overlay does, the count of refreshes aside, which moves with each (R27)."""
        return f"{sorted(self.day.items())}{self.left}{sorted(self.triage.items())}"


def of(row: Row[Any]) -> Overlay | None:
    """Return the overlay of a row that has the columns of `columns`; None where nothing was recorded."""
    if row.marks is None:
        return None
    return Overlay(
        row.marks, row.entered, row.refreshes, row.departed, row.left_24h, row.since_24h or {}, row.triage or {}
    )


def columns(
    tenant: ColumnElement[str], signal: ColumnElement[str], now: ColumnElement[Any], day_ago: ColumnElement[Any]
) -> tuple[ColumnElement[Any], ...]:
    """Return what a tenant's items carry at `now`: `since_24h` and `triage` by fingerprint, and `left_24h`."""
    return (
        _moved(tenant, signal, day_ago).label("since_24h"),
        _left(tenant, signal, day_ago).label("left_24h"),
        _said(tenant, signal, now).label("triage"),
    )


def said_columns() -> dict[str, ColumnElement[Any]]:
    """Return the members of an item's triage, by name."""
    said = triage.c
    return {
        "state": said.state,
        "until": instant_text(said.until),
        "reason": said.reason,
        "comment": said.comment,
        "actor": said.actor,
        "at": instant_text(said.at),
    }


def holds_at(now: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that what was said of an item holds at `now`."""
    return and_(triage.c.state != "open", triage.c.until.is_(None) | (triage.c.until > now))


def _said(tenant: ColumnElement[str], signal: ColumnElement[str], now: ColumnElement[Any]) -> ScalarSelect[Any]:
    members = [part for name, column in said_columns().items() for part in (literal_column(f"'{name}'"), column)]
    said = func.json_build_array(triage.c.state, cast(func.json_build_object(*members), Text))
    return (
        select(func.json_object_agg(triage.c.fingerprint, said, type_=JSON))
        .where(triage.c.tenant_id == tenant, triage.c.signal == signal, holds_at(now))
        .scalar_subquery()
    )


def _first_change(day_ago: ColumnElement[Any]) -> Any:  # noqa: ANN401  # a lateral subquery
    """Return the first change of an item since then: it says what the item was then."""
    state, change = item_state.c, signal_change.c
    return (
        select(change.kind, change.previous_severity)
        .where(
            change.tenant_id == state.tenant_id,
            change.signal == state.signal,
            change.fingerprint == state.fingerprint,
            change.at > day_ago,
            # What was first seen later was not there: its changes need not be read.
            state.first_seen_at <= day_ago,
        )
        .order_by(change.at, change.change_no)
        .limit(1)
        .lateral("first_change")
    )


def _moved(tenant: ColumnElement[str], signal: ColumnElement[str], day_ago: ColumnElement[Any]) -> ScalarSelect[Any]:
    first, state = _first_change(day_ago), item_state.c
    word = case(
        (first.c.kind.is_(None) | (first.c.kind == "entered"), "entered"),
        (state.severity > first.c.previous_severity, "rose"),
        (state.severity < first.c.previous_severity, "fell"),
        else_="same",
    )
    rows = item_state.outerjoin(first, literal_column("true"))
    present = state.left_at.is_(None) & (state.changed_at > day_ago)
    return (
        select(func.json_object_agg(state.fingerprint, word, type_=JSON))
        .select_from(rows)
        .where(state.tenant_id == tenant, state.signal == signal, present)
        .scalar_subquery()
    )


def _left(tenant: ColumnElement[str], signal: ColumnElement[str], day_ago: ColumnElement[Any]) -> ScalarSelect[Any]:
    first, state = _first_change(day_ago), item_state.c
    gone = and_(state.left_at > day_ago, state.changed_at > day_ago, first.c.kind != "entered")
    named = (
        select(state.fingerprint, state.key)
        .select_from(item_state.join(first, literal_column("true")))
        .where(state.tenant_id == tenant, state.signal == signal, gone)
        .order_by(state.left_at.desc(), state.fingerprint)
        .limit(MAX_LEFT)
        .subquery()
    )
    each = func.jsonb_build_object("fingerprint", named.c.fingerprint, "key", named.c.key)
    return select(func.coalesce(cast(func.jsonb_agg(each), Text), "[]")).select_from(named).scalar_subquery()
