"""Metrics of the receiver, for Prometheus: no label names a tenant, a key or a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from ingest.otlp.readiness import obstacle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric
    from sqlalchemy import Engine

    from ingest.assembly.assembling import Assembly
    from ingest.assembly.buffer import Acceptance

_WAITING: Final = text("""
select
    coalesce(sum(pending), 0) as spans,
    coalesce(extract(epoch from clock_timestamp() - min(pending_since)), 0) as oldest_s
from signals.ingested_trace where pending > 0
""")


class Metrics:
    """The numbers of this process."""

    def __init__(self, folder: Path | None = None) -> None:
        """Take the folder where several processes meet, None for one alone."""
        self._registry = CollectorRegistry()
        self._folder = folder
        self._requests = self._counter("requests", "Requests by the status of their answer.", "status")
        self._spans = self._counter("spans", "Spans that arrived: new, known before, or refused.", "outcome")
        self._traces = self._counter("traces", "Traces that were written, written again, or refused.", "outcome")
        self._failures = self._counter("assembly_failures", "Rounds of the assembler that failed as a whole.")

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"activity_ingest_{name}", words, labels, registry=self._registry)

    def answered(self, status: int) -> None:
        """Count a request."""
        self._requests.labels(str(status)).inc()

    def accepted(self, done: Acceptance, refused: int) -> None:
        """Count the spans of a request."""
        for outcome, spans in (("new", done.kept), ("known", done.known), ("refused", refused)):
            self._spans.labels(outcome).inc(spans)

    def assembled(self, done: Assembly) -> None:
        """Count what a round of the assembler wrote."""
        self._traces.labels("written").inc(done.traces - done.late)
        self._traces.labels("appended").inc(done.late)
        self._traces.labels("refused").inc(len(done.problems))

    def failed(self) -> None:
        """Count a round that failed."""
        self._failures.inc()

    def exposition(self, waiting: Waiting) -> bytes:
        """Return all numbers as text, those of the other processes and of `waiting` included."""
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]  # the library's
        own = CollectorRegistry()
        own.register(waiting)
        return generate_latest(registry) + generate_latest(own)


class Waiting(Collector):
    """The spans that wait to be written, and whether they can be, read when asked."""

    def __init__(self, engine: Engine, revision: str) -> None:
        """Take an engine of the ingest role, and the revision that the database must be at."""
        self._engine = engine
        self._needed = revision

    def collect(self) -> Iterator[Metric]:
        """Yield their number and the age of the oldest, and whether the database answered."""
        up = GaugeMetricFamily("activity_database_up", "Whether the database answered this scrape.")
        spans = GaugeMetricFamily("activity_ingest_pending_spans", "Spans that wait to be written.")
        oldest = GaugeMetricFamily("activity_ingest_oldest_pending_seconds", "Since the oldest of them arrived.")
        ready = GaugeMetricFamily("activity_ingest_ready", "Whether schema and rights let spans be kept and written.")
        try:
            ready.add_metric([], float(obstacle(self._engine, self._needed) is None))
            with self._engine.connect() as conn:
                row = conn.execute(_WAITING).one()
            spans.add_metric([], float(row.spans))
            oldest.add_metric([], float(row.oldest_s))
            up.add_metric([], 1)
        except SQLAlchemyError:
            up.add_metric([], 0)
        yield from (up, ready, spans, oldest)
