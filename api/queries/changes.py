"""The changes of a tenant's signals, in order and each exactly once, and the series of one item.

Changes are numbered per tenant without a gap and in the order of their commits (docs/adr/0009-change-numbers.md), so a
page is whole when its numbers are; a cursor from before retention is refused, and never skips what was removed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, asc, desc, literal, literal_column, select

from api.http.problems import ProblemError, invalid_parameter
from snapshots.movement import change_counter, signal_change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Row, Select

    from api.http.parameters import Query

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 500
MAX_CURSOR_CHARS: Final = 256
PARAMETERS: Final = frozenset({"since", "before", "limit"})
#: What `before` says to begin with the newest change.
NOW: Final = "now"
#: A join with what is there once at most.
_ALWAYS: Final[ColumnElement[bool]] = literal_column("true")
_EXPECTED: Final = "a cursor of an earlier answer, unchanged"


@dataclass(frozen=True, slots=True)
class Position:
    """The last change that a reader has seen, in a stream of numbers; `stream` is empty before there was one."""

    stream: str
    change_no: int

    def is_of(self, stream: str) -> bool:
        """Tell whether `stream` goes on from here, as any does from before its first change."""
        return self.stream == stream or self == Position("", 0)


def gone(name: str = "since") -> ProblemError:
    """Return the 410 for a cursor whose next change is no longer kept."""
    detail = f"{name}: what comes next is no longer kept; begin anew without it"
    return ProblemError(410, "cursor_expired", detail, parameter=name)


def asked_for(query: Query, tenant_id: str) -> ChangeList | LatestChanges:
    """Return the page that `query` names. Raises ProblemError (400) for a malformed parameter, or two that exclude."""
    limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    since, before = query.text("since", MAX_CURSOR_CHARS), query.text("before", MAX_CURSOR_CHARS)
    if before is None:
        return ChangeList(tenant_id, None if since is None else _decode(since, tenant_id, "since"), limit)
    if since is not None:
        raise invalid_parameter("before", "no `since` beside it: one reads forward, the other back")
    return LatestChanges(tenant_id, None if before == NOW else _decode(before, tenant_id, "before"), limit)


@dataclass(frozen=True, slots=True)
class ChangeList:
    """One page of the changes of a tenant; `since` None begins with the oldest that is kept."""

    tenant_id: str
    since: Position | None
    limit: int

    def statement(self) -> Select[*tuple[Any, ...]]:
        """Return the rows of the page and one more, each with the tenant's counter; one row without a change if none.

        One statement, so that the counter and the rows are of one state.
        """
        after = 0 if self.since is None else self.since.change_no
        number = signal_change.c.change_no
        return _page(self.tenant_id, number > after, asc, self.limit)

    def body(self, rows: Sequence[Row[Any]]) -> dict[str, object]:
        """Return the response. Raises ProblemError (410) where the cursor's next change is no longer kept."""
        stream, last_no = rows[0].stream or "", rows[0].last_no or 0
        found = [row for row in rows if row.change_no is not None]
        self._check(stream, last_no, found)
        # Without a cursor and without a kept change, the next one is that after the newest there ever was.
        return _answer(self, stream, found, end=last_no)

    def _check(self, stream: str, last_no: int, found: Sequence[Row[Any]]) -> None:
        """Refuse a cursor of numbers that began anew, and one between which and the next number there is a gap."""
        if self.since is None:
            return
        if not self.since.is_of(stream):
            raise gone()
        expected = self.since.change_no
        for row in found:
            expected += 1
            if row.change_no != expected:
                raise gone()
        if not found and expected != last_no:
            raise gone()


@dataclass(frozen=True, slots=True)
class LatestChanges:
    """One page of the changes of a tenant, the newest first, for people; `before` None begins with the newest."""

    tenant_id: str
    before: Position | None
    limit: int

    def statement(self) -> Select[*tuple[Any, ...]]:
        """Return the rows of the page and one more, as `ChangeList` does."""
        number = signal_change.c.change_no
        until = _ALWAYS if self.before is None else number < self.before.change_no
        return _page(self.tenant_id, until, desc, self.limit)

    def body(self, rows: Sequence[Row[Any]]) -> dict[str, object]:
        """Return the response; `next_cursor` goes on as `before`. Raises ProblemError (410) once numbers began anew."""
        stream = rows[0].stream or ""
        if self.before is not None and not self.before.is_of(stream):
            raise gone("before")
        return _answer(self, stream, [row for row in rows if row.change_no is not None], end=0)


def _page(
    tenant_id: str,
    wanted: ColumnElement[bool],
    order: Callable[[ColumnElement[int]], ColumnElement[int]],
    limit: int,
) -> Select[*tuple[Any, ...]]:
    page = (
        select(signal_change)
        .where(signal_change.c.tenant_id == tenant_id, wanted)
        .order_by(order(signal_change.c.change_no))
        .limit(limit + 1)
        .lateral("page")
    )
    counter = select(change_counter).where(change_counter.c.tenant_id == tenant_id).subquery()
    always = select(literal(1).label("one")).subquery()
    rows = always.outerjoin(counter, _ALWAYS).outerjoin(page, _ALWAYS)
    return select(counter.c.last_no, counter.c.stream, page).select_from(rows).order_by(order(page.c.change_no))


def _answer(page: ChangeList | LatestChanges, stream: str, found: Sequence[Row[Any]], *, end: int) -> dict[str, object]:
    """Return the response; `end` is where the next page begins when this one is empty."""
    shown = found[: page.limit]
    last = shown[-1].change_no if shown else end
    return {
        "changes": [_change(row, stream, page.tenant_id) for row in shown],
        "next_cursor": _encode(Position(stream, last), page.tenant_id),
        "has_more": len(found) > page.limit,
    }


def _change(row: Row[Any], stream: str, tenant_id: str) -> dict[str, object]:
    names = ("at", "signal", "kind", "fingerprint", "key", "rank", "previous_rank", "value", "previous_value")
    values = row._mapping  # noqa: SLF001  # public API of SQLAlchemy, despite the underscore
    cursor = _encode(Position(stream, row.change_no), tenant_id)
    return {"cursor": cursor, **{name: values[name] for name in names}}


def _encode(position: Position, tenant_id: str) -> str:
    written = json.dumps([_bound_to(tenant_id), position.stream, position.change_no], separators=(",", ":"))
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


def _decode(cursor: str, tenant_id: str, name: str) -> Position:
    """Return the position of `cursor`. Raises ProblemError (400) when it is made up, or of another tenant."""
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        made_for, stream, change_no = json.loads(decoded)
    except (ValueError, TypeError, RecursionError):
        raise invalid_parameter(name, _EXPECTED) from None
    is_number = isinstance(change_no, int) and not isinstance(change_no, bool) and 0 <= change_no < 2**63
    if made_for != _bound_to(tenant_id) or not isinstance(stream, str) or not is_number:
        raise invalid_parameter(name, _EXPECTED)
    return Position(stream, change_no)


def _bound_to(tenant_id: str) -> str:
    return hashlib.sha256(f"changes {tenant_id}".encode()).hexdigest()[:16]
