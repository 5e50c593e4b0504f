"""The signals that a run appears in, and why: its rows among the published items.

Source: docs/specification-notes.md#credentials-and-capabilities, docs/specification-notes.md#numbers-and-rounding,
docs/specification-notes.md#unready-and-empty-snapshots, docs/specification-notes.md#content-and-confirmation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, and_, case, func, select

from api.http.wire import instant_text
from api.queries.freshness import confirmed_as_of
from api.queries.summaries import UNKNOWN
from snapshots.items import attention_item, cost_item, pattern_item
from snapshots.signal_catalogue import CATALOGUE
from snapshots.tables import freshness, quarantine, snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import ColumnElement, FromClause, Row, Table

#: The capability that each signal asks for, here as at its own endpoint.
CAPABILITIES: Final = {signal: CATALOGUE[signal].capability for signal in ("patterns", "attention", "cost")}
#: The order of the patterns endpoint (docs/specification-notes.md#pattern-entries).
PATTERN_TYPES: Final = tuple(CATALOGUE["patterns"].kinds)

_PATTERN_COLUMNS: Final = (
    "pattern_type",
    "rank",
    "skill_id",
    "retry_count",
    "max_step_retries",
    "total_retries",
    "oscillation_count",
    "loop_depth",
    "slow_step_count",
)
#: Decimals of what is rounded.
_MONEY: Final = 8
_SCORE: Final = 6
_AVERAGE: Final = 4


def granted(capabilities: Collection[str]) -> list[str]:
    """Return the signals that a caller with `capabilities` may read, in the order of the body."""
    return [signal for signal, capability in CAPABILITIES.items() if capability in capabilities]


def columns(run: FromClause, signals: Collection[str]) -> list[ColumnElement[Any]]:
    """Return a column per signal of `signals` with what it says of the row of `run`, and one with its instant."""
    says = {"patterns": _patterns, "attention": _attention, "cost": _cost}
    found = [says[signal](run).label(f"signal_{signal}") for signal in signals]
    return found + [_as_of(run, signal).label(f"as_of_{signal}") for signal in signals]


def body(row: Row[Any], signals: Collection[str]) -> dict[str, object]:
    """Return `signals` from the columns of a row: None for a signal that is withheld.

    `as_of` is None for one that was never computed for the tenant.
    """
    values = row._mapping  # noqa: SLF001  # public API of SQLAlchemy, despite the underscore
    says: dict[str, object] = {name: values[f"signal_{name}"] if name in signals else None for name in CAPABILITIES}
    if "patterns" in signals:
        says["patterns"] = _ordered(values["signal_patterns"] or [])
    return {**says, "as_of": {name: values[f"as_of_{name}"] for name in signals}}


def _ordered(patterns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows in the order of the endpoint, each with the columns of its pattern alone."""
    in_order = sorted(patterns, key=lambda row: (PATTERN_TYPES.index(row["pattern_type"]), row["rank"]))
    return [{name: value for name, value in row.items() if value is not None or name == "skill_id"} for row in in_order]


def _patterns(run: FromClause) -> ColumnElement[Any]:
    rows = pattern_item.c
    members = {name: rows[name] for name in _PATTERN_COLUMNS} | {
        "avg_duration_ms": _rounded(rows.avg_duration_ms, _AVERAGE)
    }
    return select(func.json_agg(_object(members), type_=JSON)).where(_of_run(pattern_item, run)).scalar_subquery()


def _attention(run: FromClause) -> ColumnElement[Any]:
    rows = attention_item.c
    components = CATALOGUE["attention"].components
    members = {
        "rank": rows.rank,
        "attention_score": _rounded(rows.attention_score, _SCORE),
        "contributions": _object({name: _rounded(rows[f"{name}_contribution"], _SCORE) for name in components}),
        "reasons": rows.reasons,
    }
    return select(_object(members)).where(_of_run(attention_item, run)).scalar_subquery()


def _cost(run: FromClause) -> ColumnElement[Any]:
    rows = cost_item.c
    members = {
        "agent_id": rows.agent_id,
        "rank": rows.rank,
        "z_score": _rounded(rows.z_score, _AVERAGE),
        "is_anomaly": rows.is_anomaly,
        "current_avg_cost": _rounded(rows.current_avg_cost, _MONEY),
        "baseline_avg": _rounded(rows.baseline_avg, _MONEY),
    }
    of_agent = rows.tenant_id == run.c.tenant_id, rows.agent_id == func.coalesce(run.c.agent_id, UNKNOWN)
    return select(_object(members)).where(*of_agent).scalar_subquery()


def _as_of(run: FromClause, signal: str) -> ColumnElement[Any]:
    """Return the instant that the tenant's items of `signal` answer for, NULL when there is none."""
    of_tenant = and_(snapshot.c.signal == freshness.c.signal, snapshot.c.tenant_id == run.c.tenant_id)
    slot = freshness.c.slot == func.signals.slot_of(run.c.tenant_id)
    # A refresh that confirms the content moves the instant of what has a window, and of nothing else.
    moved = func.greatest(snapshot.c.as_of, confirmed_as_of())
    own = func.coalesce(snapshot.c.as_of, confirmed_as_of())
    as_of = case((freshness.c.window_json.is_(None), own), else_=moved)
    is_aside = and_(quarantine.c.signal == freshness.c.signal, quarantine.c.tenant_id == run.c.tenant_id)
    rows = freshness.outerjoin(snapshot, of_tenant).outerjoin(quarantine, is_aside)
    return (
        select(instant_text(as_of))
        .select_from(rows)
        .where(freshness.c.signal == signal, slot)
        .correlate(run)
        .scalar_subquery()
    )


def _of_run(items: Table, run: FromClause) -> ColumnElement[bool]:
    return and_(items.c.tenant_id == run.c.tenant_id, items.c.run_id == run.c.run_id)


def _object(members: Mapping[str, ColumnElement[Any]]) -> ColumnElement[Any]:
    pairs = (part for name, value in members.items() for part in (name, value))
    return func.json_build_object(*pairs, type_=JSON)


def _rounded(column: ColumnElement[Any], decimals: int) -> ColumnElement[Any]:
    return func.trim_scale(func.round(column, decimals))
