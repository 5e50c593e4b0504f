"""The runs list: filters, a total order, and pages that start where the last one ended.

Source: docs/specification-notes.md#runs-list, docs/specification-notes.md#numbers-and-rounding,
docs/specification-notes.md#utc, docs/specification-notes.md#optional-filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, MetaData, Text, and_, cast, func, literal, or_, select, union_all

from api.http.cursor import MAX_CURSOR_CHARS, Position, decode, encode, fingerprint
from api.http.wire import instant_text, number
from api.queries.summaries import STATES
from snapshots.source import tenant_run
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, CompoundSelect, FromClause, Row, Select, Table

    from api.http.parameters import Query

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
SORTS: Final = ("started_at", "completed_at", "duration_ms", "estimated_cost_usd")
ORDERS: Final = ("desc", "asc")
#: Money prints with this many decimals.
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

#: Twins of `tenant_run` that ask for an order themselves, one per index that has it: a barrier view without one reads
#: every row of the tenant before a LIMIT outside cuts them.
_IN_ORDER: Final[dict[tuple[str, bool], Table]] = {
    (sort, order == "desc"): tenant_run.to_metadata(MetaData(), schema=SCHEMA, name=f"tenant_run_by_{sort}_{order}")
    for sort in ("started_at", "completed_at")
    for order in ORDERS
}


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
        """Return the fingerprint of the filters that a cursor must carry; the order of their values does not matter."""
        filters = {name: sorted(value) if isinstance(value, list) else value for name, value in self.filters.items()}
        return fingerprint(self.tenant_id, filters, self.sort, self.descending)

    def statement(self) -> Select[*tuple[Any, ...]]:
        """Return the rows of the page, and one more to learn whether there is another page."""
        page = self._page().subquery()
        # Printed outside, since PostgreSQL would print every row of the tenant before it sorts and cuts them.
        return select(*printed(page), cast(page.c[self.sort], Text).label("sort_key")).order_by(*self._order(page))

    def body(self, rows: Sequence[Row[Any]]) -> dict[str, object]:
        """Return the response to `rows`."""
        shown, has_more = rows[: self.limit], len(rows) > self.limit
        last = Position(shown[-1].sort_key, shown[-1].run_id) if has_more else None
        return {
            "items": [item(row) for row in shown],
            "has_more": has_more,
            "next_cursor": encode(last, self.fingerprint) if last else None,
            "filters_applied": self.filters,
        }

    def _page(self) -> Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]]:
        """Return the rows with a key from the cursor on; where they are too few, those without one, which come last."""
        wanted = self.limit + 1
        if self.position is not None and self.position.key is None:
            return self._without_key(literal(wanted))
        keyed = self._with_key(wanted).cte("run_with_key")
        # A limit of 0 reads nothing: the rows without a key are only looked at by the page that reaches them.
        return union_all(
            select(keyed), self._without_key(wanted - select(func.count(keyed.c.run_id)).scalar_subquery())
        )

    def _with_key(self, wanted: int) -> Select[*tuple[Any, ...]]:
        ordered = _IN_ORDER.get((self.sort, self.descending))
        rows = tenant_run if ordered is None else ordered
        query = self._matching(rows).where(self._after(rows.c[self.sort], _run_id(rows))).limit(wanted)
        # An ORDER BY beside the view's own would be planned for all of its rows, as if there were no limit.
        return query.order_by(*self._order(rows)) if ordered is None else query

    def _without_key(self, wanted: ColumnElement[int]) -> Select[*tuple[Any, ...]]:
        query = self._matching(tenant_run).where(tenant_run.c[self.sort].is_(None))
        if self.position is not None and self.position.key is None:
            query = query.where(_run_id(tenant_run) > self.position.run_id)
        return query.order_by(_run_id(tenant_run)).limit(wanted)

    def _matching(self, rows: Table) -> Select[*tuple[Any, ...]]:
        conditions = (_condition(rows, name, value) for name, value in self.filters.items())
        columns = (rows.c[name] for name in ITEM_COLUMNS)
        return select(*columns).where(rows.c.tenant_id == self.tenant_id, *conditions)

    def _order(self, rows: FromClause) -> tuple[ColumnElement[Any], ...]:
        key = rows.c[self.sort]
        return (key.desc() if self.descending else key.asc()).nulls_last(), _run_id(rows)

    def _after(self, key: ColumnElement[Any], run_id: ColumnElement[str]) -> ColumnElement[bool]:
        """Return what holds for the rows after the cursor that have a key; equal keys go by run."""
        if self.position is None or self.position.key is None:
            return key.is_not(None)
        value = as_written(self.position.key)
        from_there, beyond = (key <= value, key < value) if self.descending else (key >= value, key > value)
        # The first condition alone says where an index scan may start.
        return and_(from_there, or_(beyond, run_id > self.position.run_id))


def printed(rows: FromClause) -> list[ColumnElement[Any]]:
    """Return the members of an item, made from `rows`: any that have ITEM_COLUMNS."""
    return [_printed(name, rows.c[name]) for name in ITEM_COLUMNS]


def item(row: Row[Any]) -> dict[str, object]:
    """Return the item of a row that `printed` made."""
    values = row._mapping  # noqa: SLF001  # public API of SQLAlchemy, despite the underscore
    members = {name: values[name] for name in ITEM_COLUMNS}
    return members | {name: number(values[name]) for name in ("duration_ms", "estimated_cost_usd")}


def as_written(value: str) -> ColumnElement[Any]:
    """Return `value` for PostgreSQL to read as the type of the column that it is compared with.

    A host's timestamps may be naive. PostgreSQL does not take the comparison of one with an aware value for
    leakproof, and so keeps it out of a barrier view and of the index behind it.
    """
    return literal(value, Text)


def _run_id(rows: FromClause) -> ColumnElement[str]:
    return rows.c.run_id.collate("C")


def _filters(query: Query) -> dict[str, object]:
    """Return the filters that are present, by name; these alone reach the WHERE clause."""
    filters: dict[str, object] = {
        "state": query.choice("state", STATES),
        "project_id": query.text("project_id"),
        "is_synthetic": query.flag("is_synthetic"),
        **{name: list(query.texts(name, known)) or None for name, known in REPEATABLE.items()},
        **{name: query.instant(name) for name in BOUNDS},
    }
    return {name: value for name, value in filters.items() if value is not None}


def _condition(rows: Table, name: str, value: Any) -> ColumnElement[bool]:  # noqa: ANN401  # a filter's value has its column's type
    if name in BOUNDS:
        return _bound(rows, name, value)
    return rows.c[name].in_(value if name in REPEATABLE else [value])


def _bound(rows: Table, name: str, value: datetime) -> ColumnElement[bool]:
    event, _, side = name.rpartition("_")
    column, bound = rows.c[f"{event}_at"], as_written(value.isoformat())
    return column >= bound if side == "after" else column <= bound


def _printed(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, DateTime):
        return instant_text(column).label(name)
    if name == "estimated_cost_usd":
        return func.round(column, _MONEY_DECIMALS, type_=column.type).label(name)
    return column
