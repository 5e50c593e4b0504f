"""Traces that are whole, written as runs, traces and steps: each in full, or not at all with its problem noted.

Several assemblers may work at a time: each takes traces that no other holds. Steps never change once they are written;
a span that comes later is appended after them, and marked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ingest.assembly.buffer import IN_USE
from ingest.assembly.spans import restore
from ingest.assembly.traces import Arrival, Composition, Known, compose
from ingest.files.loading import store
from ingest.files.problems import LoadError
from ingest.files.targets import read_targets
from snapshots.errors import sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Row, TextClause

    from ingest.assembly.traces import Record
    from ingest.files.targets import Target
    from ingest.prices import Prices

    Held = Sequence[Row[Any]]

#: Traces that are looked at in one transaction, and spans that are held in memory meanwhile.
BATCH: Final = 200
MAX_HELD_SPANS: Final = 20_000
#: A run that is under way is brought up to date at most this often, seconds.
SHOW_EVERY_S: Final = 15
#: Classes of SQLSTATE that speak of a row: what is stored does not fit the host's table.
_ABOUT_A_ROW: Final = ("22", "23", "P0", "44")

_log = logging.getLogger(__name__)

#: A run that could not be shown is marked with infinity: it is not ours yet, and is not tried before it is written.
_COLUMNS: Final = "trace_id, tenant_id, spans, steps, written_at, coalesce(isfinite(shown_at), false) as is_shown"
#: Whole: the root has ended and nothing came for a while; or the longest wait is over.
READY: Final = text(f"""
select {_COLUMNS} from signals.ingested_trace
where
    pending > 0
    and (
        (has_root and last_arrived_at <= :as_of - make_interval(secs => :quiet_s))
        or pending_since <= :as_of - make_interval(secs => :max_wait_s)
    )
order by pending_since, trace_id limit :limit for update skip locked
""")  # noqa: S608  # columns of ours
#: Under way, and not brought up to date since spans came.
SHOWABLE: Final = text(f"""
select {_COLUMNS} from signals.ingested_trace
where
    pending > 0 and not has_root
    and (shown_at is null or shown_at < last_arrived_at)
    and (shown_at is null or shown_at <= :as_of - make_interval(secs => :every_s))
order by pending_since, trace_id limit :limit for update skip locked
""")  # noqa: S608  # columns of ours
#: Those of a load, whatever they wait for.
LOADED: Final = text(f"""
select {_COLUMNS} from signals.ingested_trace
where pending > 0 and trace_id in (select trace_id from pg_temp.loaded_trace)
order by trace_id limit :limit for update
""")  # noqa: S608  # columns of ours
_SPANS: Final = text("""
select trace_id, span_id, payload, written_at is not null as is_written
from signals.ingested_span where trace_id = any(:trace_ids)
""")
_FOREIGN: Final = text("""
select from unnest(cast(:trace_ids as text[]), cast(:tenant_ids as text[])) as ours (run_id, tenant_id)
inner join signals.source_run using (run_id)
where source_run.tenant_id is distinct from ours.tenant_id limit 1
""")
_MARK_SPANS: Final = text("""
update signals.ingested_span
set written_at = :as_of, is_late = each.is_late
from unnest(cast(:trace_ids as text[]), cast(:late as boolean[])) as each (trace_id, is_late)
where ingested_span.trace_id = each.trace_id and ingested_span.written_at is null
""")
_MARK_STEPS: Final = text("""
update signals.ingested_span
set step_index = each.step_index
from
    unnest(cast(:trace_ids as text[]), cast(:span_ids as text[]), cast(:indexes as int[]))
        as each (trace_id, span_id, step_index)
where ingested_span.trace_id = each.trace_id and ingested_span.span_id = each.span_id
""")
_MARK_TRACES: Final = text("""
update signals.ingested_trace
set
    late = ingested_trace.late + case when ingested_trace.written_at is null then 0 else ingested_trace.pending end,
    steps = ingested_trace.steps + each.steps,
    pending = 0,
    pending_since = null,
    is_underived = true,
    written_at = coalesce(ingested_trace.written_at, :as_of)
from unnest(cast(:trace_ids as text[]), cast(:steps as int[])) as each (trace_id, steps)
where ingested_trace.trace_id = each.trace_id
""")
_MARK_SHOWN: Final = text("""
update signals.ingested_trace set shown_at = :as_of, is_underived = true where trace_id = any(:trace_ids)
""")
_MARK_UNSHOWABLE: Final = text("""
update signals.ingested_trace set shown_at = case when isfinite(shown_at) then :as_of else 'infinity' end
where trace_id = :trace_id
""")
_GIVE_UP: Final = text("""
with dropped as (
    delete from signals.ingested_span where trace_id = :trace_id and written_at is null
)

update signals.ingested_trace
set problem = :problem, spans = spans - pending, refused = refused + pending, pending = 0, pending_since = null
where trace_id = :trace_id
""")


@dataclass(slots=True)
class Assembly:
    """What was written: traces, their steps, model calls without a price; and the traces that could not be, and why."""

    traces: int = 0
    steps: int = 0
    late: int = 0
    unpriced: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, other: Assembly) -> None:
        """Count what another one did as well."""
        self.traces += other.traces
        self.steps += other.steps
        self.late += other.late
        self.unpriced += other.unpriced
        self.problems |= other.problems


def write_ready(conn: Connection, prices: Prices, as_of: datetime, *, quiet_s: float, max_wait_s: float) -> Assembly:
    """Write one batch of the traces that are whole at `as_of`, in the caller's transaction."""
    bounds = {"as_of": as_of, "quiet_s": quiet_s, "max_wait_s": max_wait_s}
    return _write_held(conn, _hold(conn, READY, bounds), prices, as_of)


def write_loaded(conn: Connection, prices: Prices, as_of: datetime) -> Assembly:
    """Write one batch of the traces that the load of this transaction named; none is left when it wrote none."""
    return _write_held(conn, _hold(conn, LOADED, {}), prices, as_of)


def show_live(conn: Connection, prices: Prices, as_of: datetime) -> int:
    """Bring runs up to date whose traces are under way; return how many."""
    return _show_held(conn, _hold(conn, SHOWABLE, {"as_of": as_of, "every_s": SHOW_EVERY_S}), prices, as_of)


def _show_held(conn: Connection, held: Held, prices: Prices, as_of: datetime) -> int:
    """Show runs together; where that fails, each half by itself. One that cannot be is its trace's problem later."""
    if not held:
        return 0
    trace_ids = [row.trace_id for row in held]
    if _in_savepoint(conn, lambda: _store(conn, held, _compose(conn, held, prices), runs_alone=True)) is None:
        conn.execute(_MARK_SHOWN, {"as_of": as_of, "trace_ids": trace_ids})
        return len(held)
    if len(held) > 1:
        return sum(_show_held(conn, half, prices, as_of) for half in _halves(held))
    conn.execute(_MARK_UNSHOWABLE, {"as_of": as_of, "trace_id": trace_ids[0]})
    return 0


def _hold(conn: Connection, statement: TextClause, bounds: Mapping[str, object]) -> Held:
    """Return traces that are now ours to write, as many as may be held in memory."""
    rows = conn.execute(statement, {**bounds, "limit": BATCH}).all()
    chosen: list[Row[Any]] = []
    spans = 0
    for row in rows:
        spans += row.spans
        if chosen and spans > MAX_HELD_SPANS:
            break
        chosen.append(row)
    return chosen


def _write_held(conn: Connection, held: Held, prices: Prices, as_of: datetime) -> Assembly:
    """Write traces together; where that fails, each half by itself, so that one alone is left out."""
    done = Assembly()
    if not held:
        return done
    refusal = _in_savepoint(conn, lambda: done.add(_write(conn, held, prices, as_of)))
    if refusal is None:
        return done
    if len(held) > 1:
        for half in _halves(held):
            done.add(_write_held(conn, half, prices, as_of))
        return done
    trace_id = held[0].trace_id
    conn.execute(_GIVE_UP, {"trace_id": trace_id, "problem": refusal})
    _log.warning("trace not written", extra={"trace_id": trace_id, "problem": refusal})
    done.problems[trace_id] = refusal
    return done


def _halves(held: Held) -> tuple[Held, Held]:
    """Return both halves: one that fails among many is found in few attempts."""
    middle = len(held) // 2
    return held[:middle], held[middle:]


def _in_savepoint(conn: Connection, work: Callable[[], None]) -> str | None:
    """Do `work`, or nothing of it: then return what the database has against a row of it."""
    conn.execute(text("savepoint trace_batch"))
    refusal = None
    try:
        work()
    except LoadError as ex:
        refusal = str(ex)
    except DBAPIError as ex:
        if not (sqlstate(ex) or "").startswith(_ABOUT_A_ROW):
            raise
        diagnosis = getattr(ex.orig, "diag", None)
        refusal = getattr(diagnosis, "message_primary", None) or type(ex.orig).__name__
    if refusal is not None:
        conn.execute(text("rollback to savepoint trace_batch"))
    conn.execute(text("release savepoint trace_batch"))
    return refusal


def _write(conn: Connection, held: Held, prices: Prices, as_of: datetime) -> Assembly:
    composed = _compose(conn, held, prices)
    parts = composed.values()
    _store(conn, held, composed)
    _mark(conn, held, composed, as_of)
    late = sum(row.written_at is not None for row in held)
    steps, unpriced = sum(len(part.steps) for part in parts), sum(part.unpriced for part in parts)
    return Assembly(len(composed), steps, late, unpriced)


def _compose(conn: Connection, held: Held, prices: Prices) -> dict[str, Composition]:
    arrivals: dict[str, list[Arrival]] = {row.trace_id: [] for row in held}
    for row in conn.execute(_SPANS, {"trace_ids": list(arrivals)}) if held else ():
        arrivals[row.trace_id].append(Arrival(restore(row.trace_id, row.span_id, row.payload), row.is_written))
    known = (Known(row.trace_id, row.tenant_id, row.steps, row.written_at is not None) for row in held)
    return {each.trace_id: compose(each, arrivals[each.trace_id], prices) for each in known}


def _store(conn: Connection, held: Held, composed: Mapping[str, Composition], *, runs_alone: bool = False) -> None:
    """Store the rows of traces; raises LoadError where a run or a trace of that id is there that is not of ours."""
    ours = [row for row in held if row.written_at is not None or row.is_shown]
    known = {row.trace_id for row in ours}
    parts = composed.values()
    _store_again(conn, ours, [part.run for trace_id, part in composed.items() if trace_id in known])
    rows: dict[str, list[Record]] = {"runs": [part.run for trace_id, part in composed.items() if trace_id not in known]}
    if not runs_alone:
        rows["aos_traces"] = [part.trace for part in parts if part.trace is not None]
        rows["aos_trace_steps"] = [step for part in parts for step in part.steps]
    stored = store(conn, _fitting(conn, rows), kept=rows)
    if any(report.unchanged for report in stored.values()):
        raise LoadError(IN_USE)


def _store_again(conn: Connection, held: Held, runs: Sequence[Record]) -> None:
    """Store runs that we wrote before; raises LoadError where one has gone and another tenant's has its id."""
    if not held or not store(conn, _fitting(conn, {"runs": runs}))["runs"].unchanged:
        return
    ours = {"trace_ids": [row.trace_id for row in held], "tenant_ids": [row.tenant_id for row in held]}
    if conn.execute(_FOREIGN, ours).first() is not None:
        raise LoadError(IN_USE)


def _fitting(conn: Connection, rows: Mapping[str, Sequence[Record]]) -> dict[str, list[Record]]:
    targets = read_targets(conn)
    return {name: [_fit(row, targets[name]) for row in rows[name]] for name in rows}


def _fit(row: Record, target: Target) -> Record:
    """Return the fields that the host has; where it takes no NULL, its own default stands for what is not known."""
    columns = {column.field: column for column in target.columns}
    return {
        name: value
        for name, value in row.items()
        if name in columns and not (value is None and columns[name].is_not_null)
    }


def _mark(conn: Connection, held: Held, composed: Mapping[str, Composition], as_of: datetime) -> None:
    """Remember what was written, so that none of it is written again."""
    trace_ids = [row.trace_id for row in held]
    indexes = [
        (trace_id, span_id, index) for trace_id, part in composed.items() for span_id, index in part.indexes.items()
    ]
    late = [row.written_at is not None for row in held]
    conn.execute(_MARK_SPANS, {"trace_ids": trace_ids, "late": late, "as_of": as_of})
    names = ("trace_ids", "span_ids", "indexes")
    conn.execute(_MARK_STEPS, {name: [each[place] for each in indexes] for place, name in enumerate(names)})
    steps = [len(composed[trace_id].steps) for trace_id in trace_ids]
    conn.execute(_MARK_TRACES, {"trace_ids": trace_ids, "steps": steps, "as_of": as_of})
