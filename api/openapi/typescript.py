"""Input of the console's TypeScript types: the schemas of the bodies that the console reads, without their texts.

`make console` pipes it to openapi-typescript. Descriptions, examples and names that come from the signal catalogue are
left out: neither a reworded text nor a new signal changes the types. `api/console/src/openapi.d.ts` carries the hash.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any, Final

from api.openapi.schemas import SCHEMAS
from snapshots.signal_catalogue import CATALOGUE

#: The bodies that the console reads or sends; what they refer to is included.
_BODIES: Final = (
    "AttentionQueue",
    "ChangeList",
    "CostAnalysis",
    "Decision",
    "DimensionCounts",
    "Explanation",
    "Freshness",
    "History",
    "Patterns",
    "RunDetail",
    "RunList",
    "Session",
    "SignalList",
    "StatusSummary",
)
#: Keywords that no type follows from.
_UNTYPED: Final = frozenset(
    {"description", "examples", "format", "pattern", "minimum", "maximum"}
    | {"minItems", "maxItems", "minLength", "maxLength"}
)
_REFERENCE: Final = "#/components/schemas/"


def as_bytes() -> bytes:
    """Return the document as JSON, its members sorted."""
    # An item's key has the members of its signal.
    schemas: dict[str, Any] = {"ItemKey": {"type": "object", "additionalProperties": {"type": ["string", "null"]}}}
    waiting = list(_BODIES)
    while waiting:
        name = waiting.pop()
        if name not in schemas:
            schemas[name] = _typed(SCHEMAS[name], waiting)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Bodies of the console", "version": "1"},
        "paths": {},
        "components": {"schemas": schemas},
    }
    return json.dumps(document, sort_keys=True).encode()


def sha256() -> str:
    """Return the hash that the header of the generated file carries."""
    return hashlib.sha256(as_bytes()).hexdigest()


def _typed(schema: Any, found: list[str]) -> Any:  # noqa: ANN401  # any value of a JSON Schema
    """Return what a type follows from in `schema`; add the names of the schemas that it refers to to `found`."""
    if isinstance(schema, list):
        return [_typed(each, found) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found.append(schema["$ref"].removeprefix(_REFERENCE))
    if set(CATALOGUE).issuperset(schema.get("enum", ("",))):
        schema = {"type": schema["type"]}
    # A property may be called as a keyword is; its value is a schema.
    kept = {name: value for name, value in schema.items() if name not in _UNTYPED or isinstance(value, dict)}
    return {name: _typed(value, found) for name, value in kept.items()}


if __name__ == "__main__":
    sys.stdout.buffer.write(as_bytes())
