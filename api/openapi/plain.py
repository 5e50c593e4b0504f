"""Schemas and examples of the bodies of plain signals, made from the columns of their definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from api.openapi import movement
from api.openapi.shapes import Schema, array, boolean, integer, moment, named, nullable, number, record, text
from snapshots.signal_catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapshots.signal_catalogue import ItemColumn, SignalDefinition

_SHAPES: Final[dict[str, Callable[[str], Schema]]] = {
    "text": text,
    "integer": lambda words: {"type": "integer", "description": words},
    "number": number,
    "boolean": boolean,
    "timestamp": moment,
}
_EXAMPLES: Final[dict[str, Any]] = {
    "text": "agent_12",
    "integer": 3,
    "number": 0.25,
    "boolean": True,
    "timestamp": "2026-01-17T12:00:00.000000Z",
}


def _column(column: ItemColumn) -> Schema:
    words = f"{column.description} ({column.unit})" if column.unit else column.description
    return nullable(_SHAPES[column.type](words))


def _schema(definition: SignalDefinition) -> Schema:
    """Return the schema of the body of one plain signal."""
    columns = {name: _column(column) for name, column in definition.columns.items()}
    item = record({**columns, **movement.ITEM_EXTRAS}, optional=tuple(movement.ITEM_EXTRAS))
    return record(
        {
            definition.item_list: array(item, f"By {definition.severity}, descending."),
            "total_items": integer(),
            "parameters": record({}, closed=False, description="The thresholds that the refresh used."),
            **movement.LIST_EXTRAS,
            "snapshot": named("Snapshot"),
        },
        optional=tuple(movement.LIST_EXTRAS),
    )


def _example(definition: SignalDefinition, snapshot: dict[str, Any]) -> dict[str, Any]:
    return {
        definition.item_list: [{name: _EXAMPLES[column.type] for name, column in definition.columns.items()}],
        "total_items": 1,
        "parameters": {name: threshold.default for name, threshold in definition.thresholds.items()},
        "snapshot": snapshot,
    }


_PLAIN: Final = tuple(definition for definition in CATALOGUE.values() if definition.is_plain)
SCHEMAS: Final[dict[str, Schema]] = {definition.body: _schema(definition) for definition in _PLAIN}


def examples(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return an example body per plain signal, by the name of its schema."""
    return {definition.body: _example(definition, snapshot) for definition in _PLAIN}
