"""The explanation of one item: what was stored, and whether the source still says the same.

The API never computes a signal; it reads what publication stored, and what the rule reads of the source today.
Source: docs/specification-notes.md#content-and-confirmation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, and_, case, cast, func, select

from api.queries.explain import attention, cost, patterns, plain
from api.queries.freshness import confirmed_as_of
from api.queries.history import item_not_found
from snapshots.movement import item_state
from snapshots.signal_catalogue import CATALOGUE
from snapshots.tables import freshness, quarantine, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row, Select

    from api.queries.reader import Reader

_RULES: Final[Mapping[str, Any]] = {"patterns": patterns, "cost": cost, "attention": attention}


@dataclass(frozen=True, slots=True)
class Item:
    """An item and the snapshot that it is in."""

    tenant_id: str
    fingerprint: str
    row: Row[Any]

    @property
    def rule(self) -> Any:  # noqa: ANN401  # one of the modules above
        """The module that knows the rule of its signal."""
        return _RULES.get(self.row.signal, plain)


def explain(reader: Reader, tenant_id: str, fingerprint: str, now: datetime) -> dict[str, object]:
    """Return the explanation of an item. Raises ProblemError (404) for one that nobody knows."""
    for row in reader.rows(_item(tenant_id, fingerprint), tenant_id=tenant_id):
        item = Item(tenant_id, fingerprint, row)
        stored = reader.rows(item.rule.stored(tenant_id, row.key), tenant_id=tenant_id) if row.left_at is None else ()
        if not stored:
            return {**_head(item), **_nothing(item)}
        account = item.rule.account(stored, row.parameters)
        live = reader.rows(item.rule.live(tenant_id, row.key, stored, row.parameters, row.as_of), tenant_id=tenant_id)
        return {**_head(item), **account, "source": _compared(item, account, live, now)}
    raise item_not_found(fingerprint)


def _item(tenant_id: str, fingerprint: str) -> Select[*tuple[Any, ...]]:
    """Return the item with the version, the instant and the parameters that its signal's snapshot has now."""
    state = item_state.c
    of_item = and_(snapshot.c.tenant_id == state.tenant_id, snapshot.c.signal == state.signal)
    of_slot = and_(freshness.c.signal == state.signal, freshness.c.slot == func.signals.slot_of(tenant_id))
    # Scores hold for the instant they were computed for; what has a window, for the one that last confirmed it.
    is_aside = and_(quarantine.c.signal == state.signal, quarantine.c.tenant_id == tenant_id)
    newer = func.greatest(snapshot.c.as_of, confirmed_as_of())
    confirmed = case((state.signal == "attention", snapshot.c.as_of), else_=newer)
    return (
        select(
            state.signal,
            state.key,
            state.value,
            state.first_seen_at,
            state.left_at,
            snapshot.c.version,
            snapshot.c.rule_version,
            confirmed.label("as_of"),
            cast(snapshot.c.content, JSON)["parameters"].label("parameters"),
        )
        .select_from(item_state.join(snapshot, of_item).outerjoin(freshness, of_slot).outerjoin(quarantine, is_aside))
        .where(state.tenant_id == tenant_id, state.fingerprint == fingerprint)
    )


def _head(item: Item) -> dict[str, object]:
    row = item.row
    return {
        "fingerprint": item.fingerprint,
        "signal": row.signal,
        "key": row.key,
        "finds": CATALOGUE[row.signal].finds,
        "present": row.left_at is None,
        "first_seen_at": row.first_seen_at,
        "left_at": row.left_at,
        "snapshot": {"as_of": row.as_of, "version": row.version, "rule_version": row.rule_version},
    }


def _nothing(item: Item) -> dict[str, object]:
    """Return the members of an item whose rows are not stored any more, or stand beyond those that are."""
    source: dict[str, object] = {"checked_at": None, "agrees": None, "differences": []}
    empty: dict[str, object] = {"inputs": {}, "thresholds": {}, "arithmetic": [], "evidence": []}
    return {**empty, "value": item.row.value, "source": source}


def _compared(item: Item, account: Mapping[str, Any], live: Sequence[Row[Any]], now: datetime) -> dict[str, object]:
    """Say where the source differs today from what the item was made of."""
    stored, says = account["inputs"], _live_inputs(item, live)
    names = [name for name in stored if name not in {"recency", "started_at"}]
    differences = [
        {"name": name, "stored": stored[name], "now": says.get(name)}
        for name in names
        if stored[name] != says.get(name)
    ]
    return {"checked_at": now, "agrees": not differences, "differences": differences}


def _live_inputs(item: Item, live: Sequence[Row[Any]]) -> dict[str, Any]:
    if item.row.signal == "patterns":
        return {row.run_id: int(row.found) for row in live}
    return item.rule.now_says(live[0]) if live else {}
