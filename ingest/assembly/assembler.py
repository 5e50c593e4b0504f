"""Assembler: rounds that turn buffered spans into runs, traces and steps; any number of processes may run them."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from ingest.assembly.derive import derive
from ingest.assembly.write_traces import Assembly, show_live, write_ready
from ingest.failures import Failures
from snapshots import visibility
from snapshots.errors import VisibilityError
from snapshots.signals import INGEST_ROLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from ingest.health import Metrics
    from ingest.prices import Prices
    from snapshots.settings import Settings

#: Seconds between two rounds, between two derivations, and between two removals of what is no longer remembered.
ROUND_S: Final = 1.0
DERIVE_EVERY: Final = timedelta(seconds=15)
FORGET_EVERY: Final = timedelta(hours=1)
_FORGET_BATCH: Final = 500
#: statement_timeout of a round, seconds.
STATEMENT_TIMEOUT_S: Final = 60
#: A round ends by itself when the database or a lock takes longer.
_HASTE: Final = select(
    func.set_config("lock_timeout", "5s", True),  # noqa: FBT003  # local to the transaction
    func.set_config("statement_timeout", f"{STATEMENT_TIMEOUT_S}s", True),  # noqa: FBT003  # local to the transaction
)
_FORGET: Final = text("""
with old as (
    select trace_id from signals.ingested_trace
    where last_arrived_at < :before and pending = 0
    order by last_arrived_at limit :limit for update skip locked
),

spans as (
    delete from signals.ingested_span using old where ingested_span.trace_id = old.trace_id
)

delete from signals.ingested_trace using old where ingested_trace.trace_id = old.trace_id
""")

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Assembler:
    """Runs rounds with an engine of the ingest role; each transaction leaves complete traces behind."""

    engine: Engine
    settings: Settings
    prices: Prices
    metrics: Metrics
    _next: dict[str, datetime] = field(default_factory=dict)

    def round(self, as_of: datetime | None = None) -> Assembly:
        """Write what is whole, bring up to date what is under way, judge, and forget; `as_of` is the database's now."""
        now = as_of or self._in_transaction(lambda conn: conn.execute(select(func.clock_timestamp())).scalar_one())
        self._in_transaction(lambda conn: visibility.prove(conn, INGEST_ROLE))
        bounds = {"quiet_s": self.settings.ingest_quiet_s, "max_wait_s": self.settings.ingest_max_wait_s}
        done = Assembly()
        while True:
            batch = self._in_transaction(lambda conn: write_ready(conn, self.prices, now, **bounds))
            if not batch.traces and not batch.problems:
                break
            done.add(batch)
        self.metrics.assembled(done)
        self._in_transaction(lambda conn: show_live(conn, self.prices, now))
        if self.settings.derive and self._is_due("derive", now, DERIVE_EVERY):
            self._in_transaction(lambda conn: derive(conn, now))
        if self._is_due("forget", now, FORGET_EVERY):
            self.forget(now)
        return done

    def forget(self, now: datetime) -> int:
        """Forget traces that nothing came for in so many days; return how many."""
        before, forgotten = now - timedelta(days=self.settings.ingest_memory_days), 0
        values = {"before": before, "limit": _FORGET_BATCH}
        while gone := self._in_transaction(lambda conn: conn.execute(_FORGET, values).rowcount):
            forgotten += gone
        return forgotten

    def keep_going(self, stop: threading.Event) -> None:
        """Make rounds until told to stop; a round that fails is logged, and the next one tries again."""
        failures = Failures(_log)
        while not stop.wait(ROUND_S):
            try:
                self.round()
            except Exception as ex:  # noqa: BLE001  # a thread that ended would go unnoticed; the next round tries again
                self.metrics.failed()
                failures.tell("round failed", ex, is_foreseen=isinstance(ex, SQLAlchemyError | VisibilityError))

    def start(self) -> threading.Event:
        """Make rounds in a thread of this process; return what stops them."""
        stop = threading.Event()
        threading.Thread(target=self.keep_going, args=(stop,), name="assembler", daemon=True).start()
        return stop

    def _in_transaction(self, work: Callable[[Connection], Result]) -> Result:
        with self.engine.begin() as conn:
            conn.execute(_HASTE)
            return work(conn)

    def _is_due(self, what: str, now: datetime, every: timedelta) -> bool:
        if now < self._next.get(what, now):
            return False
        self._next[what] = now + every
        return True
