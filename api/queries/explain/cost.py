"""Explain an agent's cost from its stored row and its present runs (docs/specification-notes.md#cost-figures).

Source: docs/specification-notes.md#non-finite-values-are-no-evidence.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Double, Numeric, and_, case, cast, func, or_, select

from api.queries.explain.wording import plain, rounded_money
from api.queries.summaries import UNKNOWN
from snapshots.items import cost_item
from snapshots.source import tenant_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row, Select

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)
#: A cost beyond this is not finite to the rule.
_LARGEST: Final = 1e150
#: What is nearer to 0 counts as 0.
_SMALLEST: Final = Decimal("1e-307")


def stored(tenant_id: str, key: Mapping[str, Any]) -> Select[*tuple[Any, ...]]:
    """Return the agent's row."""
    item = cost_item.c
    return select(cost_item).where(item.tenant_id == tenant_id, item.agent_id == key["agent_id"])


def live(
    tenant_id: str, key: Mapping[str, Any], rows: Sequence[Row[Any]], parameters: Mapping[str, Any], as_of: datetime
) -> Select[*tuple[Any, ...]]:
    """Return the agent's numbers over the windows of `as_of`, of the runs as they are now."""
    del rows
    run = tenant_run.c
    current = and_(run.started_at >= as_of - _DAY, run.started_at <= as_of)
    baseline = and_(run.completed_at >= as_of - _WEEK, run.completed_at < as_of - _DAY, run.started_at <= as_of)
    cost = cast(run.estimated_cost_usd, Numeric)
    p95 = func.percentile_cont(0.95).within_group(_double(run.estimated_cost_usd))
    wanted = [
        run.tenant_id == tenant_id,
        func.coalesce(run.agent_id, UNKNOWN) == key["agent_id"],
        run.estimated_cost_usd.between(-_LARGEST, _LARGEST),
        current | baseline,
    ]
    if parameters["exclude_synthetic"]:
        wanted.append(run.is_synthetic.is_not(True))
    return select(
        func.avg(cost).filter(current).label("current_avg_cost"),
        func.sum(cost).filter(current).label("total_cost"),
        func.count().filter(current).label("run_count"),
        func.avg(cost).filter(baseline).label("baseline_avg"),
        func.stddev(cost).filter(baseline).label("baseline_stddev"),
        p95.filter(baseline).label("baseline_p95"),
        func.count().filter(baseline).label("baseline_run_count"),
    ).where(*wanted)


def _double(cost: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the cost as a double, and what is too small for one as 0, as the query of the signal does."""
    return cast(case((or_(cost >= _SMALLEST, cost <= -_SMALLEST), cost), else_=0), Double)


def account(rows: Sequence[Row[Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs, thresholds and arithmetic of the stored row."""
    row = rows[0]
    return {
        "inputs": now_says(row),
        "thresholds": {"z_threshold": parameters["z_threshold"], "baseline_p95_usd": row.baseline_p95},
        "arithmetic": [_current(row), _deviation(row, parameters), _above_p95(row), _verdict(row, parameters)],
        "evidence": [{"agent_id": row.agent_id, "rank": row.rank, "runs": row.run_count}],
        "value": row.current_avg_cost,
    }


def _current(row: Row[Any]) -> str:
    runs = "1 run" if row.run_count == 1 else f"{row.run_count} runs"
    return (
        f"current_cost_usd = {plain(row.total_cost)} USD / {runs} of the current window"
        f" = {plain(row.current_avg_cost)} USD per run"
    )


def _deviation(row: Row[Any], parameters: Mapping[str, Any]) -> str:
    if row.baseline_avg is None:
        return "z_score = 0: no run with a cost completed in the baseline window"
    if row.baseline_run_count == 1:
        return "z_score = 0: the baseline has 1 run, so it has no standard deviation"
    if not row.baseline_stddev:
        return f"z_score = 0: all {row.baseline_run_count} runs of the baseline cost the same"
    sign = ">" if _exceeds_threshold(row, parameters) else "<="
    return (
        f"z_score = ({plain(row.current_avg_cost)} - {plain(row.baseline_avg)}) / {plain(row.baseline_stddev)}"
        f" = {plain(row.z_score)} {sign} {plain(parameters['z_threshold'])}"
    )


def _above_p95(row: Row[Any]) -> str:
    if row.baseline_p95 is None:
        return "baseline_p95_usd: none, since there is no baseline"
    sign = ">" if _exceeds_p95(row) else "<="
    return f"current_cost_usd = {plain(row.current_avg_cost)} {sign} {plain(row.baseline_p95)} = baseline_p95_usd"


def _verdict(row: Row[Any], parameters: Mapping[str, Any]) -> str:
    if not row.is_anomaly:
        return "is_anomaly = false: neither z_score nor the cost is above its threshold"
    conditions = {
        f"z_score is above {plain(parameters['z_threshold'])}": _exceeds_threshold(row, parameters),
        "the cost is above the 95th percentile": _exceeds_p95(row),
    }
    return f"is_anomaly = true: {' and '.join(words for words, holds in conditions.items() if holds)}"


def _exceeds_threshold(row: Row[Any], parameters: Mapping[str, Any]) -> bool:
    return bool(row.z_score > Decimal(repr(parameters["z_threshold"])))


def _exceeds_p95(row: Row[Any]) -> bool:
    return row.baseline_p95 is not None and float(row.current_avg_cost) > row.baseline_p95


def now_says(row: Row[Any]) -> dict[str, Any]:
    """Return the numbers that the rule reads, rounded as they are compared."""
    return {
        "current_cost_usd": _rounded(row.current_avg_cost),
        "total_cost_usd": _rounded(row.total_cost),
        "run_count": row.run_count,
        "baseline_avg_usd": _rounded(row.baseline_avg),
        "baseline_stddev_usd": _rounded(row.baseline_stddev),
        "baseline_p95_usd": _rounded(row.baseline_p95),
        "baseline_run_count": row.baseline_run_count,
    }


def _rounded(value: Decimal | float | None) -> Decimal | None:
    return None if value is None else rounded_money(Decimal(value))
