"""The series of one item: what it was at each change, and what it is now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import literal_column, select

from api.http.parameters import past
from api.http.problems import ProblemError, invalid_parameter
from snapshots.movement import item_state, signal_change
from snapshots.signals import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row, Select

    from api.http.parameters import Query

PARAMETERS: Final = frozenset({"signal", "key", "since"})
#: The newest points are given when there are more.
MAX_POINTS: Final = 1000
FINGERPRINT: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DEFAULT_SPAN: Final = timedelta(hours=24)


def item_not_found(fingerprint: str) -> ProblemError:
    """Return the 404 for a fingerprint that no item has, or none that is still known."""
    detail = f"No item of this tenant has the fingerprint {fingerprint}, or it left too long ago."
    return ProblemError(404, "item_not_found", detail)


def fingerprint_of(value: str | None, name: str) -> str:
    """Return `value` when it is a fingerprint. Raises ProblemError (400) naming the parameter."""
    if value is None or not FINGERPRINT.fullmatch(value):
        raise invalid_parameter(name, "a fingerprint: 32 letters of 0-9 and a-f")
    return value


@dataclass(frozen=True, slots=True)
class ItemHistory:
    """The points of an item since an instant; its state just before that instant is the first of them."""

    tenant_id: str
    signal: str
    fingerprint: str
    since: datetime

    @classmethod
    def of(cls, query: Query, tenant_id: str, now: datetime) -> ItemHistory:
        """Return what `query` names; a day when it names no `since`. Raises ProblemError (400)."""
        signal = query.choice("signal", SIGNALS)
        if signal is None:
            raise invalid_parameter("signal", f"one of {', '.join(SIGNALS)}")
        fingerprint = fingerprint_of(query.text("key"), "key")
        return cls(tenant_id, signal, fingerprint, past(query, "since", now) or now - _DEFAULT_SPAN)

    def statement(self) -> Select[*tuple[Any, ...]]:
        """Return the item's state with each of its changes, the newest first; one row without a change if none."""
        change = signal_change.c
        changes = (
            select(change.change_no, change.kind, change.at, change.value, change.previous_value, change.rank)
            .where(
                change.tenant_id == self.tenant_id,
                change.signal == self.signal,
                change.fingerprint == self.fingerprint,
                change.at >= self.since,
            )
            .order_by(change.at.desc(), change.change_no.desc())
            .limit(MAX_POINTS)
            .lateral("change")
        )
        state = (
            select(item_state.c.value.label("value_now"), item_state.c.left_at)
            .where(
                item_state.c.tenant_id == self.tenant_id,
                item_state.c.signal == self.signal,
                item_state.c.fingerprint == self.fingerprint,
            )
            .subquery()
        )
        rows = state.outerjoin(changes, literal_column("true"))
        return select(state, changes).select_from(rows).order_by(changes.c.at.desc(), changes.c.change_no.desc())

    def body(self, rows: Sequence[Row[Any]]) -> dict[str, object]:
        """Return the response; a point holds until the next. Raises ProblemError (404) for an item nobody knows."""
        if not rows:
            raise item_not_found(self.fingerprint)
        changes = [row for row in reversed(rows) if row.change_no is not None]
        points = [_point(row.at, row.value, row.rank) for row in changes]
        if not changes:
            points = [_point(self.since, None if rows[0].left_at else rows[0].value_now, None)]
        elif changes[0].kind != "entered" and len(changes) < MAX_POINTS:
            points.insert(0, _point(self.since, changes[0].previous_value, None))
        return {"signal": self.signal, "key": self.fingerprint, "points": points}


def _point(at: datetime, value: object, rank: int | None) -> dict[str, object]:
    return {"at": at, "value": value, "rank": rank}
