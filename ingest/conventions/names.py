"""Attribute names by field: the shape that each vocabulary fills in."""

from __future__ import annotations

from typing import NamedTuple


class Names(NamedTuple):
    """Attributes that a field of a span may come from; the first one with a value counts."""

    error: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    input_tokens: tuple[str, ...] = ()
    output_tokens: tuple[str, ...] = ()
    cached_tokens: tuple[str, ...] = ()
    cost_usd: tuple[str, ...] = ()
    retries: tuple[str, ...] = ()
    conversation: tuple[str, ...] = ()
    project: tuple[str, ...] = ()
    service: tuple[str, ...] = ()


def joined(*vocabularies: Names) -> Names:
    """Return the names of all `vocabularies`, those of an earlier one first."""
    return Names(*(tuple(name for names in each for name in names) for each in zip(*vocabularies, strict=True)))
