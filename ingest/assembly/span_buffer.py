"""Span buffer: accepted spans, kept in the database until their trace is complete. None is lost or doubled.

A writer of a trace locks its row, so that no span arrives between the reading of a trace and its writing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection, Row

    from ingest.spans import Span

    Held = Row[tuple[str, str, int, str | None]]

#: A trace holds so many spans; more find no room.
MAX_SPANS_PER_TRACE: Final = 10_000
IN_USE: Final = "traceId: in use by rows that did not come from this key's tenant through telemetry"
FULL: Final = f"traceId: the trace holds {MAX_SPANS_PER_TRACE} spans, and more find no room"

#: The id is the host's key as well: a trace or a run of that id that we did not write is not ours to add to.
_CLAIM: Final = text("""
insert into signals.ingested_trace (trace_id, tenant_id, first_arrived_at, last_arrived_at, problem)
select
    named.trace_id, :tenant, named.at, named.at,
    case
        when
            exists (select from signals.source_trace where source_trace.trace_id = named.trace_id)
            or exists (select from signals.source_run where source_run.run_id = named.trace_id)
            then cast(:in_use as text)
    end
from (
    select unnest(cast(:trace_ids as text[])) as trace_id, coalesce(:at, clock_timestamp()) as at
) as named
order by named.trace_id
on conflict (trace_id) do nothing
""")
_HOLD: Final = text("""
select trace_id, tenant_id, spans, problem
from signals.ingested_trace
where trace_id = any(:trace_ids)
order by trace_id
for update
""")
_KEEP: Final = text("""
insert into signals.ingested_span (trace_id, span_id, tenant_id, payload, arrived_at)
select arrived.trace_id, arrived.span_id, :tenant, cast(arrived.payload as jsonb), coalesce(:at, clock_timestamp())
from unnest(cast(:trace_ids as text[]), cast(:span_ids as text[]), cast(:payloads as text[]))
    as arrived (trace_id, span_id, payload)
order by arrived.trace_id, arrived.span_id
on conflict (trace_id, span_id) do nothing
returning trace_id, span_id
""")
_COUNT: Final = text("""
update signals.ingested_trace
set
    spans = ingested_trace.spans + counted.added,
    pending = ingested_trace.pending + counted.added,
    refused = ingested_trace.refused + counted.refused,
    has_root = ingested_trace.has_root or counted.has_root,
    last_arrived_at = case when counted.added > 0 then counted.at else ingested_trace.last_arrived_at end,
    pending_since = case
        when counted.added > 0 then coalesce(ingested_trace.pending_since, counted.at)
        else ingested_trace.pending_since
    end
from (
    select each.*, coalesce(:at, clock_timestamp()) as at
    from unnest(cast(:trace_ids as text[]), cast(:added as int[]), cast(:refused as int[]), cast(:roots as boolean[]))
        as each (trace_id, added, refused, has_root)
) as counted
where ingested_trace.trace_id = counted.trace_id
""")


@dataclass(slots=True)
class Acceptance:
    """Outcome of accepting spans: `kept` are new, `known` came before, `refused` counts the others by reason."""

    kept: int = 0
    known: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    traces: set[str] = field(default_factory=set)


def accept(conn: Connection, tenant: str, spans: Iterable[Span], at: datetime | None = None) -> Acceptance:
    """Keep spans of `tenant` in the caller's transaction; `at` is the database's present unless it is given.

    A span of an id that its trace has already is the same span, sent again.
    """
    by_id = {(span.trace_id, span.span_id): span for span in reversed(list(spans))}
    done = Acceptance()
    if not by_id:
        return done
    # Traces without a row are claimed, and all are locked; one that is forgotten in between is claimed again.
    trace_ids = sorted({trace_id for trace_id, _ in by_id})
    held: dict[str, Held] = {}
    while missing := [each for each in trace_ids if each not in held]:
        conn.execute(_CLAIM, {"tenant": tenant, "trace_ids": missing, "at": at, "in_use": IN_USE})
        held |= {row.trace_id: row for row in conn.execute(_HOLD, {"trace_ids": missing})}
    chosen, refused = _choose(by_id.values(), held, tenant, done)
    values = {
        "tenant": tenant,
        "at": at,
        "trace_ids": [span.trace_id for span in chosen],
        "span_ids": [span.span_id for span in chosen],
        "payloads": [span.payload() for span in chosen],
    }
    added = {(row.trace_id, row.span_id) for row in (conn.execute(_KEEP, values) if chosen else ())}
    done.kept, done.known = len(added), len(chosen) - len(added)
    done.traces = {span.trace_id for span in chosen}
    counts = Counter(trace_id for trace_id, _ in added)
    roots = {trace_id for trace_id, span_id in added if by_id[trace_id, span_id].is_root}
    changed = sorted({*counts, *refused})
    if changed:
        totals = {
            "trace_ids": changed,
            "added": [counts[each] for each in changed],
            "refused": [refused[each] for each in changed],
            "roots": [each in roots for each in changed],
            "at": at,
        }
        conn.execute(_COUNT, totals)
    return done


def _choose(
    spans: Iterable[Span], held: Mapping[str, Held], tenant: str, done: Acceptance
) -> tuple[list[Span], Counter[str]]:
    """Return the spans that find room, and how many of each trace do not."""
    room = {trace_id: MAX_SPANS_PER_TRACE - row.spans for trace_id, row in held.items()}
    chosen, refused = [], Counter[str]()
    for span in sorted(spans, key=lambda each: (each.trace_id, each.span_id)):
        row = held[span.trace_id]
        reason = IN_USE if row.tenant_id != tenant else row.problem
        if reason is not None:
            done.refused[reason] += 1
        elif room[span.trace_id] <= 0:
            done.refused[FULL] += 1
            refused[span.trace_id] += 1
        else:
            room[span.trace_id] -= 1
            chosen.append(span)
    return chosen, refused
