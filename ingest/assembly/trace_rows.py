"""Rows of a trace: one run, one trace, and a step for each use of a tool or a model.

Nothing here reads a clock or a database. Source: docs/opentelemetry.md "How spans become rows".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.prices import Prices
    from ingest.spans import Span

Record = dict[str, object]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: The largest number of tokens that the runs' columns hold.
_MOST_INT: Final = 2_147_483_647
_UNKNOWN: Final = "unknown"
#: Providers by the names that hosts know; others keep their own.
_PROVIDERS: Final[Mapping[str, str]] = {
    "azure.ai.openai": "openai",
    "azure.ai.inference": "openai",
    "az.ai.openai": "openai",
}
_PROVIDER_CHARACTERS: Final = 30
_CENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Known:
    """State of a trace before this writing: its number of steps, and whether it was written."""

    trace_id: str
    tenant: str
    steps: int = 0
    is_written: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """A span, and whether it was part of an earlier writing."""

    span: Span
    is_written: bool = False


@dataclass(slots=True)
class TraceRows:
    """The rows of a trace; `indexes` says which step each new span became; `unpriced` counts calls without a cost."""

    run: Record
    trace: Record | None = None
    steps: list[Record] = field(default_factory=list)
    indexes: dict[str, int] = field(default_factory=dict)
    unpriced: int = 0


def build_rows(known: Known, arrivals: Sequence[Arrival], prices: Prices) -> TraceRows:
    """Return the rows of a trace: the run of all its spans, and the steps of those that are new."""
    spans = sorted((arrival.span for arrival in arrivals), key=_order)
    # The outermost span: the first agent among those above which there is none, else the first of them.
    roots = [span for span in spans if span.is_root]
    root = next((span for span in roots if span.kind == "agent"), roots[0] if roots else None)
    costs = {span.span_id: prices.cost(span) for span in spans if span.kind == "model"}
    done = TraceRows(_run(known, spans, root, costs), unpriced=sum(cost is None for cost in costs.values()))
    if not known.is_written:
        # Written once: on many hosts it cannot change.
        done.trace = {
            "trace_id": known.trace_id,
            "run_id": known.trace_id,
            "tenant_id": known.tenant,
            "agent_id": str(done.run["agent_id"])[:64],
            "correlation_id": next((span.conversation for span in spans if span.conversation), ""),
            "status": "running" if root is None else "completed",
            "started_at": done.run["started_at"],
            "completed_at": done.run["completed_at"],
        }
    retries = _retries(spans)
    new = sorted((arrival.span for arrival in arrivals if not arrival.is_written and arrival.span.is_step), key=_order)
    for index, span in enumerate(new, start=known.steps):
        skill, cost = span.skill or span.name or _UNKNOWN, costs.get(span.span_id)
        done.indexes[span.span_id] = index
        done.steps.append(
            {
                "trace_id": known.trace_id,
                "step_index": index,
                "skill_id": skill,
                "skill_name": skill,
                "status": "failed" if span.is_failed else "succeeded",
                "outcome_category": "FAILURE" if span.is_failed else "SUCCESS",
                "outcome_code": span.error,
                "cost_cents": None if cost is None else float(cost * _CENTS),
                "duration_ms": _milliseconds(span),
                "retry_count": retries.get(span.span_id, 0),
                "timestamp": _instant(span.started_ns),
            }
        )
    return done


def _order(span: Span) -> tuple[int, str]:
    return span.started_ns, span.span_id


def _run(known: Known, spans: Sequence[Span], root: Span | None, costs: Mapping[str, Decimal | None]) -> Record:
    first = root or spans[0]
    models = [span for span in spans if span.kind == "model"]
    counted = models or [span for span in (root,) if span is not None]
    agents = [span.agent for span in sorted(spans, key=lambda each: each.kind != "agent") if span.agent]
    provider = next((span.provider for span in spans if span.provider), "internal")
    # None where one cost is not known: a part would pass for the whole.
    known_costs = [cost for cost in costs.values() if cost is not None]
    is_priced = bool(known_costs) and len(known_costs) == len(costs)
    row: Record = {
        "run_id": known.trace_id,
        "tenant_id": known.tenant,
        "agent_id": root.agent if root is not None and root.agent else (agents or [_UNKNOWN])[0],
        "goal": first.name,
        "project_id": next((span.project for span in spans if span.project), None),
        "source": "sdk",
        "provider_type": _PROVIDERS.get(provider, provider)[:_PROVIDER_CHARACTERS],
        "started_at": _instant(first.started_ns),
        "last_seen_at": _instant(max(span.ended_ns for span in spans)),
        "input_tokens": _total([span.input_tokens for span in counted]),
        "output_tokens": _total([span.output_tokens for span in counted]),
        "estimated_cost_usd": f"{sum(known_costs, Decimal(0)):f}" if is_priced else None,
    }
    if root is None:
        # Under way until its outermost span has ended.
        return row | {"state": "LIVE", "status": "running", "completed_at": None, "duration_ms": None}
    return row | {
        "state": "COMPLETED",
        "status": "failed" if root.is_failed else "succeeded",
        "completed_at": _instant(root.ended_ns),
        "duration_ms": _milliseconds(root),
    }


def _retries(spans: Sequence[Span]) -> dict[str, int]:
    """Return the retries of each step: its own, or the most that a request below it counts.

    A client that repeats a request counts its attempts on the spans of the requests, which are no steps.
    """
    by_id = {span.span_id: span for span in spans}
    found: dict[str, int] = {}
    for span in spans:
        if not span.retries:
            continue
        # The span itself if it is a step, or the nearest one above it; parents that go in a circle have none.
        seen: set[str] = set()
        at: Span | None = span
        while at is not None and at.span_id not in seen and not at.is_step:
            seen.add(at.span_id)
            at = by_id.get(at.parent_id or "")
        if at is not None and at.is_step:
            found[at.span_id] = max(found.get(at.span_id, 0), span.retries)
    return found


def _total(counts: Sequence[int | None]) -> int | None:
    """Return the sum of what is known; None where nothing is, or where it is too much to hold."""
    known = [each for each in counts if each is not None]
    return sum(known) if known and sum(known) <= _MOST_INT else None


def _instant(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _milliseconds(span: Span) -> float:
    return (span.ended_ns - span.started_ns) / 1_000_000
