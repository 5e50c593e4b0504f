"""The runs list (R12): filters, a total order, and pages that start where the last one ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, Text, and_, cast, func, or_, select

from api.cursor import MAX_CURSOR_CHARS, Position, decode, encode, fingerprint
from api.summaries import STATES
from api.wire import instant_text, number
from snapshots.source import tenant_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, FromClause, Row, Select

    from api.parameters import Query

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
SORTS: Final = ("started_at", "completed_at", "duration_ms", "estimated_cost_usd")
ORDERS: Final = ("desc", "asc")
#: Money prints with this many decimals (R4a).
_MONEY_DECIMALS: Final = 8

#: The filters that may repeat, with the values that each knows; none where any text is a value.
REPEATABLE: Final[dict[str, tuple[str, ...]]] = {
    "status": (),
    "risk_level": ("NORMAL", "NEAR_THRESHOLD", "AT_RISK", "VIOLATED"),
    "latency_bucket": ("OK", "SLOW", "STALLED"),
    "evidence_health": ("FLOWING", "DEGRADED", "MISSING"),
    "integrity_status": ("UNKNOWN", "VERIFIED", "DEGRADED", "FAILED"),
    "source": (),
    "provider_type": (),
    "agent_id": (),
}
BOUNDS: Final = ("started_after", "started_before", "completed_after", "completed_before")
PARAMETERS: Final = frozenset(
    {*REPEATABLE, *BOUNDS, "state", "project_id", "is_synthetic", "sort", "order", "limit", "cursor"}
)

#: The members of an item: the columns of `v_runs_o2`, and the agent, which that view lacks.
ITEM_COLUMNS: Final = (
    "run_id",
    "tenant_id",
    "project_id",
    "agent_id",
    "is_synthetic",
    "source",
    "provider_type",
    "state",
    "status",
    "started_at",
    "last_seen_at",
    "completed_at",
    "duration_ms",
    "risk_level",
    "latency_bucket",
    "evidence_health",
    "integrity_status",
    "incident_count",
    "policy_draft_count",
    "policy_violation",
    "input_tokens",
    "output_tokens",
    "estimated_cost_usd",
)


@dataclass(frozen=True, slots=True)
class RunList:
    """One page of the runs of a tenant."""

    tenant_id: str
    filters: dict[str, object]
    sort: str
    descending: bool
    limit: int
    position: Position | None

    @classmethod
    def of(cls, query: Query, tenant_id: str) -> RunList:
        """Return the page that `query` names. Raises ProblemError (400) for a malformed parameter."""
        filters = _filters(query)
        sort = query.choice("sort", SORTS) or SORTS[0]
        order = query.choice("order", ORDERS) or ORDERS[0]
        limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        cursor = query.text("cursor", MAX_CURSOR_CHARS)
        page = cls(tenant_id, filters, sort, order == "desc", limit, None)
        position = None if cursor is None else decode(cursor, page.fingerprint)
        return cls(tenant_id, filters, sort, order == "desc", limit, position)

    @property
    def fingerprint(self) -> str:
        """What a cursor of this list must carry."""
        return fingerprint(self.tenant_id, self.filters, self.sort, self.descending)

    def statement(self) -> Select[*tuple[Any, ...]]:
        """Return the rows of the page, and one more to learn whether there is another page."""
        conditions = [tenant_run.c.tenant_id == self.tenant_id, *(_condition(*item) for item in self.filters.items())]
        if self.position is not None:
            conditions.append(self._after(self.position))
        columns = (tenant_run.c[name] for name in ITEM_COLUMNS)
        page = select(*columns).where(*conditions).order_by(*self._order(tenant_run)).limit(self.limit + 1).subquery()
        # Printed outside, since PostgreSQL would print every row of the tenant before it sorts and cuts them.
        printed = (_printed(name, page.c[name]) for name in ITEM_COLUMNS)
        return select(*printed, cast(page.c[self.sort], Text).label("sort_key")).order_by(*self._order(page))

    def body(self, rows: Sequence[Row[Any]]) -> dict[str, object]:
        """Return the response to `rows`."""
        shown, has_more = rows[: self.limit], len(rows) > self.limit
        last = Position(shown[-1].sort_key, shown[-1].run_id) if has_more else None
        return {
            "items": [_item(row) for row in shown],
            "has_more": has_more,
            "next_cursor": encode(last, self.fingerprint) if last else None,
            "filters_applied": self.filters,
        }

    def _order(self, rows: FromClause) -> tuple[ColumnElement[Any], ...]:
        key = rows.c[self.sort]
        return (key.desc() if self.descending else key.asc()).nulls_last(), rows.c.run_id.collate("C")

    def _after(self, position: Position) -> ColumnElement[bool]:
        """Return what holds for the rows after `position`: NULLs come last, and equal keys go by run."""
        key, later_run = tenant_run.c[self.sort], tenant_run.c.run_id.collate("C") > position.run_id
        if position.key is None:
            return and_(key.is_(None), later_run)
        value = cast(position.key, key.type)
        beyond = key < value if self.descending else key > value
        return or_(beyond, and_(key == value, later_run), key.is_(None))


def _filters(query: Query) -> dict[str, object]:
    """Return the filters that are present, by name; these alone reach the WHERE clause (R5)."""
    filters: dict[str, object] = {
        "state": query.choice("state", STATES),
        "project_id": query.text("project_id"),
        "is_synthetic": query.flag("is_synthetic"),
        **{name: list(query.texts(name, known)) or None for name, known in REPEATABLE.items()},
        **{name: query.instant(name) for name in BOUNDS},
    }
    return {name: value for name, value in filters.items() if value is not None}


def _condition(name: str, value: Any) -> ColumnElement[bool]:  # noqa: ANN401  # a filter's value has its column's type
    if name in BOUNDS:
        return _bound(name, value)
    column = tenant_run.c[name]
    return column.in_(value if name in REPEATABLE else [value])


def _bound(name: str, value: datetime) -> ColumnElement[bool]:
    event, _, side = name.rpartition("_")
    column = tenant_run.c[f"{event}_at"]
    return column >= value if side == "after" else column <= value


def _printed(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, DateTime):
        return instant_text(column).label(name)
    if name == "estimated_cost_usd":
        return func.round(column, _MONEY_DECIMALS, type_=column.type).label(name)
    return column


def _item(row: Row[Any]) -> dict[str, object]:
    values = row._mapping  # noqa: SLF001  # public API of SQLAlchemy, despite the underscore
    item = {name: values[name] for name in ITEM_COLUMNS}
    return item | {name: number(values[name]) for name in ("duration_ms", "estimated_cost_usd")}
