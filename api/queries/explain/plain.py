"""Explanation of an item of a plain signal: its stored columns and the thresholds of its refresh."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import cast, null, select
from sqlalchemy.dialects.postgresql import JSONB

from snapshots.items import signal_item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row, Select


def stored(tenant_id: str, key: Mapping[str, Any]) -> Select[*tuple[Any, ...]]:
    """Return the item's row."""
    item = signal_item.c
    return select(signal_item).where(item.tenant_id == tenant_id, item.key == cast(key, JSONB))


def live(
    tenant_id: str, key: Mapping[str, Any], rows: Sequence[Row[Any]], parameters: Mapping[str, Any], as_of: datetime
) -> Select[*tuple[Any, ...]]:
    """Return no row: the source is not compared, since a plain signal's query runs in the worker alone."""
    del tenant_id, key, rows, parameters, as_of
    return select(null()).where(null().is_not(None))


def account(rows: Sequence[Row[Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs and thresholds of the stored item."""
    row = rows[0]
    item = json.loads(row.item)
    return {
        "inputs": item,
        "thresholds": dict(parameters),
        "arithmetic": [],
        "evidence": [{**row.key, "rank": row.rank}],
        "value": None,
    }


def now_says(_: Row[Any]) -> dict[str, Any]:
    """Return nothing: see `live`."""
    return {}
