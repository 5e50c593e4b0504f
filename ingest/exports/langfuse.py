"""Langfuse's export: observations and traces, as its API and its interface give them out.

Source: Langfuse's public API, types Observation and TraceWithFullDetails; docs/langfuse.md holds the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.conventions.describe import skill_of
from ingest.conventions.langfuse import KINDS
from ingest.exports.reading import SPAN_DIGITS, TRACE_DIGITS, document, hexadecimal, nanoseconds, read_export
from ingest.spans import (
    CODE_CHARACTERS,
    MOST_TOKENS,
    PROJECT_CHARACTERS,
    Span,
    SpanError,
    amount,
    check_times,
    count,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ingest.exports.reading import Place, Record
    from ingest.files.report import Problem

_NANOSECONDS = 1_000_000_000


def read_langfuse(path: Path, now_ns: int, advance: Callable[[int], None]) -> Iterator[Place | Problem]:
    """Yield the spans and the problems of a file that Langfuse exported."""
    return read_export(path, now_ns, advance, _convert)


def _convert(record: Record, now_ns: int) -> Iterable[Span]:
    """Yield the spans of a record: an observation is one, a trace the root of its observations."""
    if "startTime" in record:
        yield _observation(record, now_ns)
        return
    if "timestamp" not in record:
        raise SpanError("startTime: missing; expected an observation with startTime, or a trace with timestamp")
    started = nanoseconds(record, "timestamp")
    ended = started + int((amount(record.get("latency")) or 0) * _NANOSECONDS)
    check_times(started, ended, now_ns)
    name = text(record.get("name")) or ""
    trace_id = hexadecimal(record, "id", TRACE_DIGITS)
    yield Span(
        trace_id=trace_id,
        span_id=hexadecimal({"id": f"trace {trace_id}"}, "id", SPAN_DIGITS),
        parent_id=None,
        is_root=True,
        kind="agent",
        name=name,
        started_ns=started,
        ended_ns=ended,
        agent=name or None,
        conversation=text(record.get("sessionId"), CODE_CHARACTERS),
        project=text(record.get("projectId"), PROJECT_CHARACTERS),
    )
    held = record.get("observations")
    for each in held if isinstance(held, list) else []:
        if isinstance(each, dict):
            yield _observation({"traceId": record.get("id"), **each}, now_ns)


def _observation(record: Record, now_ns: int) -> Span:
    name = text(record.get("name")) or ""
    kind = KINDS.get(str(record.get("type", "")).lower(), "other")
    model = text(record.get("model") or record.get("providedModelName"))
    parent = record.get("parentObservationId")
    started = nanoseconds(record, "startTime")
    # An event has no end; neither has what was cut off.
    ended = nanoseconds(record, "endTime") if record.get("endTime") else started
    check_times(started, ended, now_ns)
    is_failed = record.get("level") == "ERROR"
    # Tokens and cost, under their present names or the older ones.
    details, older, costs = document(record, "usageDetails"), document(record, "usage"), document(record, "costDetails")
    stated = costs.get("total", record.get("totalCost", record.get("calculatedTotalCost", older.get("totalCost"))))
    sent = details.get("input", older.get("input", record.get("promptTokens")))
    received = details.get("output", older.get("output", record.get("completionTokens")))
    return Span(
        trace_id=hexadecimal(record, "traceId", TRACE_DIGITS),
        span_id=hexadecimal(record, "id", SPAN_DIGITS),
        parent_id=hexadecimal(record, "parentObservationId", SPAN_DIGITS) if parent else None,
        is_root=not parent,
        kind=kind,
        name=name,
        started_ns=started,
        ended_ns=ended,
        is_failed=is_failed,
        error="error" if is_failed else None,
        agent=name if kind == "agent" and name else None,
        skill=skill_of(kind, name, model),
        model=model,
        project=text(record.get("projectId"), PROJECT_CHARACTERS),
        input_tokens=count(sent, MOST_TOKENS),
        output_tokens=count(received, MOST_TOKENS),
        cached_tokens=count(details.get("input_cached_tokens"), MOST_TOKENS),
        # What Langfuse has no price for costs 0 there, which says nothing.
        cost_usd=amount(stated) or None,
    )
