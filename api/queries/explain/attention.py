"""Explanation of a queued run, from its stored contributions and the run as it is now.

Source: docs/specification-notes.md#attention-score.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from api.queries.explain.wording import plain
from snapshots.items import attention_item
from snapshots.signal_catalogue import CATALOGUE
from snapshots.source import tenant_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row, Select

#: In the order of the rule's sum.
_COMPONENTS: Final = CATALOGUE["attention"].components
#: The levels of each component by their score.
_LEVELS: Final[Mapping[str, Mapping[Decimal, str]]] = {
    name: {Decimal(repr(level.score)): level.value for level in component.levels}
    for name, component in _COMPONENTS.items()
}
_NONE: Final = "none"


def stored(tenant_id: str, key: Mapping[str, Any]) -> Select[*tuple[Any, ...]]:
    """Return the item's row."""
    item = attention_item.c
    return select(attention_item).where(item.tenant_id == tenant_id, item.run_id == key["run_id"])


def live(
    tenant_id: str, key: Mapping[str, Any], rows: Sequence[Row[Any]], parameters: Mapping[str, Any], as_of: datetime
) -> Select[*tuple[Any, ...]]:
    """Return what the rule reads of the run, as it is now."""
    del rows, parameters, as_of
    run = tenant_run.c
    names = ("risk_level", "policy_violation", "incident_count", "latency_bucket", "evidence_health", "state")
    columns = [run[name] for name in names]
    return select(*columns).where(run.tenant_id == tenant_id, run.run_id == key["run_id"])


def account(rows: Sequence[Row[Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs, thresholds and arithmetic of the stored item."""
    row = rows[0]
    parts = [_part(row, parameters["weights"], name) for name in _COMPONENTS]
    total = f"attention_score = {' + '.join(plain(part['contribution']) for part in parts)}"
    return {
        "inputs": {part["component"]: part["level"] for part in parts} | {"started_at": row.started_at},
        "thresholds": {"weights": parameters["weights"]},
        "arithmetic": [*(part["sentence"] for part in parts), f"{total} = {plain(row.attention_score)}"],
        "evidence": [{"run_id": row.run_id, "rank": row.rank, "reasons": row.reasons}],
        "value": row.attention_score,
    }


def _part(row: Row[Any], weights: Mapping[str, float], name: str) -> dict[str, Any]:
    contribution = Decimal(getattr(row, f"{name}_contribution"))
    weight = Decimal(repr(weights[name]))
    score = contribution / weight
    level = _age(score) if name == "recency" else _LEVELS[name].get(score, _NONE)
    sentence = f"{name}: {plain(weight)} x {plain(score)} ({level}) = {plain(contribution)}"
    return {"component": name, "level": level, "contribution": contribution, "sentence": sentence}


def _age(score: Decimal) -> str:
    hours = (1 - score) * 24
    return (
        "started 24 hours ago or earlier, or no start is recorded"
        if score == 0
        else f"started {plain(round(hours, 2))} hours ago"
    )


def now_says(row: Row[Any]) -> dict[str, Any]:
    """Return the levels that the rule would read now."""
    impact = "policy violation" if row.policy_violation else "incident" if (row.incident_count or 0) > 0 else _NONE
    columns = {"risk": row.risk_level, "latency": row.latency_bucket, "evidence": row.evidence_health}
    named = {name: value if value in _LEVELS[name].values() else _NONE for name, value in columns.items()}
    return {"risk": named["risk"], "impact": impact, "latency": named["latency"], "evidence": named["evidence"]}
