"""Spans as far as the signals need them: agent, tool or model, time, outcome and cost. No prompt and no answer."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["agent", "tool", "model", "other"]

#: Texts are cut to this many characters: what the columns of the source tables hold.
NAME_CHARACTERS: Final = 128
CODE_CHARACTERS: Final = 64
PROJECT_CHARACTERS: Final = 36
#: More tokens than this in one call, retries of one step, or dollars, are no count; they are left out.
MOST_TOKENS: Final = 1_000_000_000
MOST_RETRIES: Final = 1_000_000
MOST_USD: Final = 1_000_000.0

#: A span that began before this, or more than a day after its arrival, has a broken clock. Nanoseconds.
EARLIEST_NS: Final = 946_684_800_000_000_000  # 2000-01-01
FUTURE_NS: Final = 86_400_000_000_000
#: A span is no longer than this; nanoseconds.
LONGEST_NS: Final = 366 * 86_400_000_000_000


class SpanError(ValueError):
    """A span cannot be taken; the message names the field and what was expected."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span: `is_root` where no other span of its trace is above it. Times in nanoseconds since 1970, UTC."""

    trace_id: str
    span_id: str
    parent_id: str | None
    is_root: bool
    kind: Kind
    name: str
    started_ns: int
    ended_ns: int
    is_failed: bool = False
    error: str | None = None
    agent: str | None = None
    skill: str | None = None
    model: str | None = None
    provider: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None
    retries: int = 0
    conversation: str | None = None
    project: str | None = None

    @property
    def is_step(self) -> bool:
        """Tell whether it becomes a step: the use of a tool or of a model."""
        return self.kind in {"tool", "model"}

    def payload(self) -> str:
        """Return what is kept of it beside its ids, as JSON."""
        found = {name: getattr(self, name) for name in _KEPT}
        return json.dumps({name: value for name, value in found.items() if value is not None})


_KEPT: Final = tuple(field.name for field in fields(Span) if field.name not in {"trace_id", "span_id"})


def restore(trace_id: str, span_id: str, payload: Mapping[str, Any]) -> Span:
    """Return the span that `payload` was made of."""
    return Span(trace_id=trace_id, span_id=span_id, **{"parent_id": None, **payload})


def check_times(started_ns: int, ended_ns: int, now_ns: int) -> None:
    """Raise SpanError unless the span began and ended at times that can be."""
    if not EARLIEST_NS <= started_ns <= now_ns + FUTURE_NS:
        raise SpanError("startTimeUnixNano: expected a time since 2000, at most a day ahead")
    if ended_ns < started_ns:
        raise SpanError("endTimeUnixNano: expected a time at or after the start")
    if ended_ns - started_ns > LONGEST_NS:
        raise SpanError("endTimeUnixNano: expected a time within a year of the start")


def text(value: object, limit: int = NAME_CHARACTERS) -> str | None:
    """Return a text that PostgreSQL can hold, cut to `limit` characters; None for what is none, or empty.

    NUL, and halves of surrogate pairs, become U+FFFD.
    """
    if not isinstance(value, str):
        return None
    cut = value.strip()[:limit]
    if not cut.isascii() or "\0" in cut:
        cut = "".join("\ufffd" if letter == "\0" or "\ud800" <= letter <= "\udfff" else letter for letter in cut)
    return cut or None


def count(value: object, most: int) -> int | None:
    """Return a count from 0 to `most`, of a number or of its decimal text; None for anything else."""
    number = _number(value)
    return int(number) if number is not None and 0 <= number <= most else None


def amount(value: object) -> float | None:
    """Return an amount of dollars, from 0 to MOST_USD; None for anything else."""
    number = _number(value)
    return float(number) if number is not None and 0 <= number <= MOST_USD else None


def _number(value: object) -> float | int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value) if len(value) <= CODE_CHARACTERS else None
        except ValueError:
            return None
    if isinstance(value, int):
        # One of hundreds of digits is finite, and too large to ask of as a float.
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None
