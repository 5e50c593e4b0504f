"""Live summaries: runs by status (docs/specification-notes.md#status-summary) and by dimension.

Source: docs/specification-notes.md#near-threshold-count, docs/specification-notes.md#missing-keys-are-unknown,
docs/specification-notes.md#optional-filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from api.http.problems import ProblemError
from snapshots.source import tenant_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row, Select

    from api.http.parameters import Query

STATES: Final = ("LIVE", "COMPLETED")
ALLOWED_DIMENSIONS: Final = frozenset({"provider_type", "source", "agent_id"})
#: What counts as near a threshold; VIOLATED is past it.
NEAR_THRESHOLD_LEVELS: Final = ("AT_RISK", "NEAR_THRESHOLD")
#: The statuses that a summary always names.
USUAL_STATUSES: Final = ("succeeded", "failed", "aborted", "retry")
SHOWN_BUCKETS: Final = 20
#: Where NULL keys are counted.
UNKNOWN: Final = "unknown"

STATUS_PARAMETERS: Final = frozenset({"project_id", "started_after", "started_before"})
DIMENSION_PARAMETERS: Final = frozenset({"dim", "state", "project_id"})


@dataclass(frozen=True, slots=True)
class StatusScope:
    """The COMPLETED runs that a summary by status counts; both bounds are inclusive."""

    tenant_id: str
    project_id: str | None
    started_after: datetime | None
    started_before: datetime | None
    exclude_synthetic: bool

    @classmethod
    def of(cls, query: Query, tenant_id: str, *, exclude_synthetic: bool) -> StatusScope:
        """Return the scope that `query` names. Raises ProblemError (400) for a malformed parameter."""
        return cls(
            tenant_id,
            query.text("project_id"),
            query.instant("started_after"),
            query.instant("started_before"),
            exclude_synthetic,
        )

    def statement(self) -> Select[*tuple[Any, ...]]:
        """Return the counts per status, and how many of each are near a threshold."""
        run = tenant_run.c
        near = func.count().filter(run.risk_level.in_(NEAR_THRESHOLD_LEVELS))
        conditions = _conditions(self.tenant_id, "COMPLETED", self.project_id, exclude_synthetic=self.exclude_synthetic)
        if self.started_after is not None:
            conditions.append(run.started_at >= self.started_after)
        if self.started_before is not None:
            conditions.append(run.started_at <= self.started_before)
        status = func.coalesce(run.status, UNKNOWN)
        return (
            select(status.label("status"), func.count().label("runs"), near.label("near"))
            .where(*conditions)
            .group_by(status)
        )

    def body(self, rows: Sequence[Row[Any]]) -> dict[str, object]:
        """Return the response to `rows`."""
        counts = dict.fromkeys(USUAL_STATUSES, 0) | {row.status: row.runs for row in rows}
        return {
            "tenant_id": self.tenant_id,
            "window": {"started_after": self.started_after, "started_before": self.started_before},
            "summary": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))),
            "near_threshold_count": sum(row.near for row in rows),
            "total": sum(counts.values()),
        }


@dataclass(frozen=True, slots=True)
class DimensionScope:
    """The runs that are counted by a dimension."""

    tenant_id: str
    dimension: str
    state: str
    project_id: str | None
    exclude_synthetic: bool

    @classmethod
    def of(cls, query: Query, tenant_id: str, *, exclude_synthetic: bool) -> DimensionScope:
        """Return the scope that `query` names. Raises ProblemError (400) for a malformed parameter."""
        dimension = check_dimension(query.raw("dim"))
        state = query.choice("state", STATES) or "LIVE"
        return cls(tenant_id, dimension, state, query.text("project_id"), exclude_synthetic)

    def statement(self) -> Select[*tuple[Any, ...]]:
        """Return the largest buckets, each with the number of all runs in scope."""
        conditions = _conditions(self.tenant_id, self.state, self.project_id, exclude_synthetic=self.exclude_synthetic)
        key = func.coalesce(tenant_run.c[self.dimension], UNKNOWN)
        total = func.sum(func.count()).over()
        return (
            select(key.label("key"), func.count().label("runs"), total.label("total"))
            .where(*conditions)
            .group_by(key)
            .order_by(func.count().desc(), key.collate("C"))
            .limit(SHOWN_BUCKETS)
        )

    def body(self, rows: Sequence[Row[Any]]) -> dict[str, object]:
        """Return the response to `rows`."""
        total = int(rows[0].total) if rows else 0
        return {
            "dimension": self.dimension,
            "state": self.state,
            "buckets": [{"key": row.key, "count": row.runs} for row in rows],
            "total_runs": total,
            "other_runs": total - _sum(row.runs for row in rows),
        }


def check_dimension(received: str | None) -> str:
    """Return `received` if it is a dimension, else raise ProblemError (docs/specification-notes.md#dimensions)."""
    if received in ALLOWED_DIMENSIONS:
        return str(received)
    allowed = sorted(ALLOWED_DIMENSIONS)
    detail = f"dim: expected one of {', '.join(allowed)}"
    raise ProblemError(400, "invalid_dimension", detail, allowed=allowed, received=received)


def _conditions(
    tenant_id: str, state: str, project_id: str | None, *, exclude_synthetic: bool
) -> list[ColumnElement[bool]]:
    """Return the predicates that are present, so that the planner sees no other.

    The view carries the tenant predicate too; here it stands for the day that a view is changed.
    """
    run = tenant_run.c
    conditions: list[ColumnElement[bool]] = [run.tenant_id == tenant_id, run.state == state]
    if project_id is not None:
        conditions.append(run.project_id == project_id)
    if exclude_synthetic:
        conditions.append(run.is_synthetic.is_not(True))
    return conditions


def _sum(counts: Iterable[int]) -> int:
    return sum(counts)
