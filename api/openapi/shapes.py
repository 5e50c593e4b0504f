"""Small words for JSON Schema (2020-12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Schema = dict[str, Any]


def text(description: str = "", **more: Any) -> Schema:  # noqa: ANN401  # keywords of JSON Schema
    """Return a string."""
    return _described({"type": "string", **more}, description)


def nullable(schema: Schema) -> Schema:
    """Return what `schema` allows, or null."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    choices = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **choices, "type": [schema["type"], "null"]}


def one_of(values: Iterable[str], description: str = "") -> Schema:
    """Return a string that is one of `values`."""
    return text(description, enum=list(values))


def integer(description: str = "", minimum: int = 0, **more: Any) -> Schema:  # noqa: ANN401  # keywords of JSON Schema
    """Return a whole number."""
    return _described({"type": "integer", "minimum": minimum, **more}, description)


def number(description: str = "", **more: Any) -> Schema:  # noqa: ANN401  # keywords of JSON Schema
    """Return a number."""
    return _described({"type": "number", **more}, description)


def boolean(description: str = "") -> Schema:
    """Return a boolean."""
    return _described({"type": "boolean"}, description)


def moment(description: str = "") -> Schema:
    """Return an instant as responses print it."""
    return text(description, format="date-time", examples=["2026-01-17T12:00:00.000000Z"])


def array(items: Schema, description: str = "", **more: Any) -> Schema:  # noqa: ANN401  # keywords of JSON Schema
    """Return a list."""
    return _described({"type": "array", "items": items, **more}, description)


def record(
    properties: dict[str, Schema], *, optional: Sequence[str] = (), description: str = "", closed: bool = True
) -> Schema:
    """Return an object that has these members and, when `closed`, no others."""
    required = [name for name in properties if name not in optional]
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": not closed}
    return _described(schema, description)


def named(name: str) -> Schema:
    """Return a reference to the component `name`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description} if description else schema
