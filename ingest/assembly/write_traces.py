"""Span assembly: complete traces written as runs, traces and steps, each whole, or not at all with its problem noted.

Several assemblers may work at a time: each takes traces that no other holds. Steps never change once they are written;
a span that comes later is appended after them, and marked.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from psycopg2.errorcodes import LOCK_NOT_AVAILABLE
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ingest.assembly.span_buffer import IN_USE
from ingest.assembly.trace_rows import Arrival, Known, build_rows
from ingest.assembly.trace_store import RowsBusyError, TraceStore
from ingest.files.locking import PATIENCE_S, hurried, pause
from ingest.files.report import LoadError
from ingest.spans import restore
from snapshots.errors import sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Row, TextClause

    from ingest.assembly.trace_rows import TraceRows
    from ingest.prices import Prices

    Held = Sequence[Row[Any]]

#: Traces that are looked at in one transaction, and spans that are held in memory meanwhile.
BATCH: Final = 200
MAX_HELD_SPANS: Final = 20_000
#: A run that is under way is brought up to date at most this often, seconds.
SHOW_EVERY_S: Final = 15

_log = logging.getLogger(__name__)

#: A run that could not be shown is marked with infinity: it is not ours yet, and is not tried before it is written.
_COLUMNS: Final = "trace_id, tenant_id, spans, steps, written_at, coalesce(isfinite(shown_at), false) as is_shown"
#: Complete: the root has ended and no span came for a while; or the longest wait is over.
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


Result = TypeVar("Result")


@dataclass(slots=True)
class Assembly:
    """Counts of written traces, steps and model calls without a price; problems of traces that could not be written."""

    traces: int = 0
    steps: int = 0
    late: int = 0
    unpriced: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, other: Assembly) -> None:
        """Add the counts and problems of another batch."""
        self.traces += other.traces
        self.steps += other.steps
        self.late += other.late
        self.unpriced += other.unpriced
        self.problems |= other.problems


def write_ready(conn: Connection, prices: Prices, as_of: datetime, *, quiet_s: float, max_wait_s: float) -> Assembly:
    """Write one batch of the traces that are whole at `as_of`, in the caller's transaction."""
    held = _hold(conn, READY, {"as_of": as_of, "quiet_s": quiet_s, "max_wait_s": max_wait_s})
    return _Writing(conn, prices, as_of).write(held) if held else Assembly()


def write_loaded(conn: Connection, prices: Prices, as_of: datetime) -> Assembly:
    """Write one batch of the traces that the load of this transaction named; none is left when it wrote none."""
    held = _hold(conn, LOADED, {})
    return _Writing(conn, prices, as_of).write(held) if held else Assembly()


def show_live(conn: Connection, prices: Prices, as_of: datetime) -> int:
    """Bring runs up to date whose traces are under way; return how many."""
    held = _hold(conn, SHOWABLE, {"as_of": as_of, "every_s": SHOW_EVERY_S})
    return _Writing(conn, prices, as_of).show(held) if held else 0


def _hold(conn: Connection, statement: TextClause, bounds: Mapping[str, object]) -> Held:
    """Return traces whose rows are now locked for us, as many as may be held in memory."""
    rows = conn.execute(statement, {**bounds, "limit": BATCH}).all()
    chosen: list[Row[Any]] = []
    spans = 0
    for row in rows:
        spans += row.spans
        if chosen and spans > MAX_HELD_SPANS:
            break
        chosen.append(row)
    return chosen


class _Writing:
    """The writing of one batch of traces. Where the batch fails each half is written by itself, down to one trace."""

    def __init__(self, conn: Connection, prices: Prices, as_of: datetime) -> None:
        self._conn = conn
        self._prices = prices
        self._as_of = as_of
        self._store = TraceStore(conn)
        self._is_last_try = False

    def write(self, held: Held) -> Assembly:
        """Write traces; give up one that cannot be written by itself, and note why."""
        done = Assembly()
        refusal = self._in_savepoint(lambda: self._write(held))
        if isinstance(refusal, Assembly):
            return refusal
        if len(held) > 1:
            middle = len(held) // 2
            for half in (held[:middle], held[middle:]):
                done.add(self.write(half))
            return done
        trace_id = held[0].trace_id
        self._conn.execute(_GIVE_UP, {"trace_id": trace_id, "problem": refusal})
        _log.warning("trace not written", extra={"trace_id": trace_id, "problem": refusal})
        done.problems[trace_id] = refusal
        return done

    def show(self, held: Held) -> int:
        """Write runs alone; return how many. One that cannot be written by itself becomes its trace's problem later."""
        trace_ids = [row.trace_id for row in held]

        def store_runs() -> int:
            self._store_runs(held, self._build(held))
            return len(held)

        shown = self._in_savepoint(store_runs)
        if isinstance(shown, int):
            self._conn.execute(_MARK_SHOWN, {"as_of": self._as_of, "trace_ids": trace_ids})
            return shown
        if len(held) > 1:
            middle = len(held) // 2
            return self.show(held[:middle]) + self.show(held[middle:])
        self._conn.execute(_MARK_UNSHOWABLE, {"as_of": self._as_of, "trace_id": trace_ids[0]})
        return 0

    def _in_savepoint(self, work: Callable[[], Result]) -> Result | str:
        """Return what `work` returns; undo it and return the reason where a row cannot be stored.

        Where other sessions hold rows of it, all of it is undone and begun again, for `PATIENCE_S`; then raises the
        driver's LockNotAvailable.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._is_last_try = time.monotonic() >= deadline
            self._conn.execute(text("savepoint trace_batch"))
            result: Result | str | None
            try:
                with hurried(self._conn):
                    result = work()
            except LoadError as ex:
                result, is_undone = str(ex), True
            except (RowsBusyError, DBAPIError) as ex:
                if self._is_last_try or not (isinstance(ex, RowsBusyError) or sqlstate(ex) == LOCK_NOT_AVAILABLE):
                    raise
                result, is_undone = None, True
            else:
                is_undone = False
            if is_undone:
                self._conn.execute(text("rollback to savepoint trace_batch"))
            self._conn.execute(text("release savepoint trace_batch"))
            if result is not None:
                return result
            pause()

    def _write(self, held: Held) -> Assembly:
        built = self._build(held)
        self._store_runs(held, built)
        traces = [part.trace for part in built.values() if part.trace is not None]
        if self._store.insert("aos_traces", traces) < len(traces):
            raise LoadError(IN_USE)
        self._store.require_traces([trace_id for trace_id, part in built.items() if part.trace is None and part.steps])
        steps = [step for part in built.values() for step in part.steps]
        if self._store.insert("aos_trace_steps", steps) < len(steps):
            raise LoadError(IN_USE)
        self._mark(held, built)
        late = sum(row.written_at is not None for row in held)
        return Assembly(len(built), len(steps), late, sum(part.unpriced for part in built.values()))

    def _build(self, held: Held) -> dict[str, TraceRows]:
        arrivals: dict[str, list[Arrival]] = {row.trace_id: [] for row in held}
        for row in self._conn.execute(_SPANS, {"trace_ids": list(arrivals)}):
            arrivals[row.trace_id].append(Arrival(restore(row.trace_id, row.span_id, row.payload), row.is_written))
        known = (Known(row.trace_id, row.tenant_id, row.steps, row.written_at is not None) for row in held)
        return {each.trace_id: build_rows(each, arrivals[each.trace_id], self._prices) for each in known}

    def _store_runs(self, held: Held, built: Mapping[str, TraceRows]) -> None:
        """Store the runs of traces; raise LoadError where a run of that id is there that is not of ours."""
        ours = {row.trace_id: row.tenant_id for row in held if row.written_at is not None or row.is_shown}
        again = [built[trace_id].run for trace_id in ours]
        if again and self._store.replace("runs", again, nowait=self._is_last_try) < len(again):
            # Unchanged, or gone and another tenant's since.
            values = {"trace_ids": list(ours), "tenant_ids": list(ours.values())}
            if self._conn.execute(_FOREIGN, values).first() is not None:
                raise LoadError(IN_USE)
        new = [part.run for trace_id, part in built.items() if trace_id not in ours]
        if self._store.insert("runs", new) < len(new):
            raise LoadError(IN_USE)

    def _mark(self, held: Held, built: Mapping[str, TraceRows]) -> None:
        """Remember what was written, so that none of it is written again."""
        trace_ids = [row.trace_id for row in held]
        late = [row.written_at is not None for row in held]
        self._conn.execute(_MARK_SPANS, {"trace_ids": trace_ids, "late": late, "as_of": self._as_of})
        indexes = [
            (trace_id, span_id, index) for trace_id, part in built.items() for span_id, index in part.indexes.items()
        ]
        names = ("trace_ids", "span_ids", "indexes")
        self._conn.execute(_MARK_STEPS, {name: [each[place] for each in indexes] for place, name in enumerate(names)})
        steps = [len(built[trace_id].steps) for trace_id in trace_ids]
        self._conn.execute(_MARK_TRACES, {"trace_ids": trace_ids, "steps": steps, "as_of": self._as_of})
