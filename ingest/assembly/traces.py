"""A trace's spans as rows of the source tables: one run, one trace, and a step for each use of a tool or a model.

Nothing here reads a clock or a database. Source: docs/opentelemetry.md "How spans become rows".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ingest.assembly.spans import Span
    from ingest.prices import Prices

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
    """What is known of a trace from before: how many steps it has, and whether its run and itself were written."""

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
class Composition:
    """The rows of a trace; `indexes` says which step each new span became; `unpriced` counts calls without a cost."""

    run: Record
    trace: Record | None = None
    steps: list[Record] = field(default_factory=list)
    indexes: dict[str, int] = field(default_factory=dict)
    unpriced: int = 0


def compose(known: Known, arrivals: Sequence[Arrival], prices: Prices) -> Composition:
    """Return the rows of a trace: the run of all its spans, and the steps of those that are new."""
    spans = sorted((arrival.span for arrival in arrivals), key=_order)
    root = _root(spans)
    costs = {span.span_id: prices.cost(span) for span in spans if span.kind == "model"}
    done = Composition(_run(known, spans, root, costs), unpriced=sum(cost is None for cost in costs.values()))
    if not known.is_written:
        done.trace = _trace(known, spans, root, done.run)
    retries = _retries(spans)
    new = sorted((arrival.span for arrival in arrivals if not arrival.is_written and arrival.span.is_step), key=_order)
    for index, span in enumerate(new, start=known.steps):
        done.indexes[span.span_id] = index
        done.steps.append(_step(known.trace_id, index, span, costs.get(span.span_id), retries.get(span.span_id, 0)))
    return done


def _root(spans: Sequence[Span]) -> Span | None:
    """Return the outermost span: the first agent among those above which there is none, else the first of them."""
    roots = [span for span in spans if span.is_root]
    return next((span for span in roots if span.kind == "agent"), roots[0] if roots else None)


def _order(span: Span) -> tuple[int, str]:
    return span.started_ns, span.span_id


def _run(known: Known, spans: Sequence[Span], root: Span | None, costs: Mapping[str, Decimal | None]) -> Record:
    models = [span for span in spans if span.kind == "model"]
    counted = models or [span for span in (root,) if span is not None]
    row: Record = {
        "run_id": known.trace_id,
        "tenant_id": known.tenant,
        "agent_id": _agent(spans, root),
        "goal": (root or spans[0]).name,
        "project_id": next((span.project for span in spans if span.project), None),
        "source": "sdk",
        "provider_type": _provider(spans),
        "started_at": _instant((root or spans[0]).started_ns),
        "last_seen_at": _instant(max(span.ended_ns for span in spans)),
        "input_tokens": _total([span.input_tokens for span in counted]),
        "output_tokens": _total([span.output_tokens for span in counted]),
        "estimated_cost_usd": _whole(costs.values()),
    }
    return row | _state(root)


def _state(root: Span | None) -> Record:
    """Return how the run stands: it is under way until its outermost span has ended."""
    if root is None:
        return {"state": "LIVE", "status": "running", "completed_at": None, "duration_ms": None}
    return {
        "state": "COMPLETED",
        "status": "failed" if root.is_failed else "succeeded",
        "completed_at": _instant(root.ended_ns),
        "duration_ms": _milliseconds(root),
    }


def _trace(known: Known, spans: Sequence[Span], root: Span | None, run: Record) -> Record:
    """Return the row of the trace, which is written once: on many hosts it cannot change."""
    return {
        "trace_id": known.trace_id,
        "run_id": known.trace_id,
        "tenant_id": known.tenant,
        "agent_id": str(run["agent_id"])[:64],
        "correlation_id": next((span.conversation for span in spans if span.conversation), ""),
        "status": "running" if root is None else "completed",
        "started_at": run["started_at"],
        "completed_at": run["completed_at"],
    }


def _step(trace_id: str, index: int, span: Span, cost: Decimal | None, retries: int) -> Record:
    skill = span.skill or span.name or _UNKNOWN
    return {
        "trace_id": trace_id,
        "step_index": index,
        "skill_id": skill,
        "skill_name": skill,
        "status": "failed" if span.is_failed else "succeeded",
        "outcome_category": "FAILURE" if span.is_failed else "SUCCESS",
        "outcome_code": span.error,
        "cost_cents": None if cost is None else float(cost * _CENTS),
        "duration_ms": _milliseconds(span),
        "retry_count": retries,
        "timestamp": _instant(span.started_ns),
    }


def _retries(spans: Sequence[Span]) -> dict[str, int]:
    """Return the retries of each step: its own, or the most that a request below it counts.

    A client that repeats a request counts its attempts on the spans of the requests, which are no steps.
    """
    by_id = {span.span_id: span for span in spans}
    found: dict[str, int] = {}
    for span in spans:
        step = _step_above(span, by_id) if span.retries else None
        if step is not None:
            found[step.span_id] = max(found.get(step.span_id, 0), span.retries)
    return found


def _step_above(span: Span, by_id: Mapping[str, Span]) -> Span | None:
    """Return the span if it is a step, or the nearest one above it; parents that go in a circle have none."""
    seen: set[str] = set()
    at: Span | None = span
    while at is not None and at.span_id not in seen:
        if at.is_step:
            return at
        seen.add(at.span_id)
        at = by_id.get(at.parent_id or "")
    return None


def _agent(spans: Sequence[Span], root: Span | None) -> str:
    if root is not None and root.agent:
        return root.agent
    agents = [span.agent for span in spans if span.agent and span.kind == "agent"]
    others = [span.agent for span in spans if span.agent]
    return (agents or others or [_UNKNOWN])[0]


def _provider(spans: Sequence[Span]) -> str:
    named = next((span.provider for span in spans if span.provider), None)
    return _PROVIDERS.get(named, named)[:_PROVIDER_CHARACTERS] if named else "internal"


def _total(counts: Sequence[int | None]) -> int | None:
    """Return the sum of what is known; None where nothing is, or where it is too much to hold."""
    known = [each for each in counts if each is not None]
    return sum(known) if known and sum(known) <= _MOST_INT else None


def _whole(costs: Iterable[Decimal | None]) -> str | None:
    """Return the sum of all costs; None without any, and where one is not known: a part would pass for the whole."""
    found = list(costs)
    known = [each for each in found if each is not None]
    return f"{sum(known, Decimal(0)):f}" if known and len(known) == len(found) else None


def _instant(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _milliseconds(span: Span) -> float:
    return (span.ended_ns - span.started_ns) / 1_000_000
