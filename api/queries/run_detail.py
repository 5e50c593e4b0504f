"""One run: its traces, its steps a page at a time, and the signals that it appears in.

Source: docs/specification-notes.md#numbers-and-rounding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Text, and_, cast, func, or_, select, tuple_

from api.http.cursor import MAX_CURSOR_CHARS, Position, decode, encode, fingerprint, refused
from api.http.parameters import MAX_VALUE_CHARS
from api.http.problems import ProblemError, invalid_parameter
from api.http.wire import instant_text, number
from api.queries import run_signals, runs
from snapshots.source import tenant_run, tenant_step, tenant_trace

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, Row, Select, Table

    from api.http.parameters import Query

PARAMETERS: Final = frozenset({"limit", "cursor"})
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 500
#: More traces are counted, not listed.
MAX_TRACES: Final = 100
#: Costs print with this many decimals.
_MONEY_DECIMALS: Final = 8
_INDEX: Final = re.compile(r"-?\d{1,10}", re.ASCII)

_STEP_COLUMNS: Final = (
    "trace_id",
    "step_index",
    "skill_id",
    "skill_name",
    "status",
    "outcome_category",
    "outcome_code",
    "duration_ms",
    "retry_count",
    "cost_cents",
)


@dataclass(frozen=True, slots=True)
class StepPosition:
    """The last step of a page: its trace's start as PostgreSQL prints it (None is NULL), its trace, its index."""

    started_at: str | None
    trace_id: str
    step_index: int

    def encode(self, of_list: str) -> str:
        """Return the cursor of this position in the timeline that has the fingerprint `of_list`."""
        return encode(Position(self.started_at, f"{self.step_index}:{self.trace_id}"), of_list)

    @classmethod
    def decode(cls, cursor: str, of_list: str) -> StepPosition:
        """Return the position of `cursor`. Raises ProblemError (400) when it is made up, or of another run."""
        position = decode(cursor, of_list)
        step_index, _, trace_id = position.run_id.partition(":")
        if not _INDEX.fullmatch(step_index):
            raise refused()
        return cls(position.key, trace_id, int(step_index))


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One run of a tenant, and one page of its steps. A step is slow above `slow_step_ms` milliseconds."""

    tenant_id: str
    run_id: str
    signals: tuple[str, ...]
    slow_step_ms: float
    limit: int
    position: StepPosition | None

    @classmethod
    def of(
        cls, query: Query, run_id: str, tenant_id: str, capabilities: Collection[str], slow_step_ms: float
    ) -> RunDetail:
        """Return the page that `query` names. Raises ProblemError (400) for a malformed id or parameter."""
        if len(run_id) > MAX_VALUE_CHARS or "\x00" in run_id:
            raise invalid_parameter("run_id", f"at most {MAX_VALUE_CHARS} characters, none of them NUL")
        limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        cursor = query.text("cursor", MAX_CURSOR_CHARS)
        position = None if cursor is None else StepPosition.decode(cursor, _fingerprint(tenant_id, run_id))
        signals = tuple(run_signals.granted(capabilities))
        return cls(tenant_id, run_id, signals, slow_step_ms, limit, position)

    def run_statement(self) -> Select[*tuple[Any, ...]]:
        """Return the run, with what the signals that the caller may read say of it."""
        columns = (*runs.printed(tenant_run), *run_signals.columns(tenant_run, self.signals))
        return select(*columns).where(self._of_run(tenant_run))

    def traces_statement(self) -> Select[*tuple[Any, ...]]:
        """Return the first traces, each with its steps counted, and how many traces there are."""
        columns = (tenant_trace.c.trace_id, tenant_trace.c.started_at, func.count().over().label("traces_total"))
        order = _order(tenant_trace)
        page = select(*columns).where(self._of_run(tenant_trace)).order_by(*order).limit(MAX_TRACES).subquery()
        # Counted outside, for the traces that are listed alone.
        counted = select(func.count()).where(tenant_step.c.trace_id == page.c.trace_id).scalar_subquery()
        started = instant_text(page.c.started_at).label("started_at")
        return select(page.c.trace_id, started, counted.label("step_count"), page.c.traces_total).order_by(
            page.c.started_at.asc().nulls_last(), page.c.trace_id.collate("C")
        )

    def steps_statement(self) -> Select[*tuple[Any, ...]]:
        """Return the steps of the page, and one more to learn whether there is another page."""
        names = (*_STEP_COLUMNS, "timestamp", "started_at")
        query = select(*(tenant_step.c[name] for name in names)).where(self._of_run(tenant_step))
        if self.position is not None:
            query = query.where(_after(self.position))
        order = (*_order(tenant_step), tenant_step.c.step_index)
        page = query.order_by(*order).limit(self.limit + 1).subquery()
        return select(
            *(page.c[name] for name in _STEP_COLUMNS),
            instant_text(page.c.timestamp).label("timestamp"),
            cast(page.c.started_at, Text).label("sort_key"),
        ).order_by(page.c.started_at.asc().nulls_last(), page.c.trace_id.collate("C"), page.c.step_index)

    def body(self, run: Sequence[Row[Any]], traces: Sequence[Row[Any]], steps: Sequence[Row[Any]]) -> dict[str, object]:
        """Return the response to the rows of the three statements; there must be a run."""
        shown, has_more = steps[: self.limit], len(steps) > self.limit
        return {
            "run": runs.item(run[0]),
            "traces": [_trace(row) for row in traces],
            "traces_total": traces[0].traces_total if traces else 0,
            "steps": [self._step(row) for row in shown],
            "has_more": has_more,
            "next_cursor": self._cursor(shown[-1]) if has_more else None,
            "signals": run_signals.body(run[0], self.signals),
            "signals_withheld": [name for name in run_signals.CAPABILITIES if name not in self.signals],
        }

    def _of_run(self, rows: Table) -> ColumnElement[bool]:
        return and_(rows.c.tenant_id == self.tenant_id, rows.c.run_id == self.run_id)

    def _step(self, row: Row[Any]) -> dict[str, object]:
        values = row._mapping  # noqa: SLF001  # public API of SQLAlchemy, despite the underscore
        duration = number(row.duration_ms)
        return {name: values[name] for name in _STEP_COLUMNS} | {
            "duration_ms": duration,
            "cost_cents": _money(row.cost_cents),
            "timestamp": row.timestamp,
            # A duration that is not finite is no evidence.
            "is_slow": duration is not None and duration > self.slow_step_ms,
        }

    def _cursor(self, row: Row[Any]) -> str:
        position = StepPosition(row.sort_key, row.trace_id, row.step_index)
        return position.encode(_fingerprint(self.tenant_id, self.run_id))


def run_not_found() -> ProblemError:
    """Return the 404 for a run that the caller's tenant does not have; it does not say whether another one has it."""
    return ProblemError(404, "run_not_found", "There is no run of this id.")


def _fingerprint(tenant_id: str, run_id: str) -> str:
    return fingerprint("steps", tenant_id, run_id)


def _order(rows: Table) -> tuple[ColumnElement[Any], ...]:
    return rows.c.started_at.asc().nulls_last(), rows.c.trace_id.collate("C")


def _after(position: StepPosition) -> ColumnElement[bool]:
    """Return what holds for the steps after `position`."""
    started_at = tenant_step.c.started_at
    step = tuple_(tenant_step.c.trace_id.collate("C"), tenant_step.c.step_index)
    later_step = step > tuple_(position.trace_id, position.step_index)
    if position.started_at is None:
        return and_(started_at.is_(None), later_step)
    start = runs.as_written(position.started_at)
    return or_(started_at > start, and_(started_at == start, later_step), started_at.is_(None))


def _trace(row: Row[Any]) -> dict[str, object]:
    return {"trace_id": row.trace_id, "started_at": row.started_at, "step_count": row.step_count}


def _money(value: float | None) -> float | int | None:
    exact = number(value)
    return None if exact is None else number(round(exact, _MONEY_DECIMALS))
