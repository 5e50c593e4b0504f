"""Health of the receiver: Prometheus metrics, whose labels name no tenant, key or trace, and readiness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import column, select, table, text
from sqlalchemy.exc import SQLAlchemyError

from snapshots import catalogue, host, ingest_rights
from snapshots.signals import DETACHED, INGEST_ROLE
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric
    from sqlalchemy import Engine, Select

    from ingest.assembly.span_buffer import Acceptance
    from ingest.assembly.write_traces import Assembly

#: Media type of Prometheus's text format.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_REVISION: Final[Select[*tuple[Any, ...]]] = select(column("version_num")).select_from(
    table("alembic_version", schema=SCHEMA)
)
_PENDING: Final = text("""
select
    coalesce(sum(pending), 0) as spans,
    coalesce(extract(epoch from clock_timestamp() - min(pending_since)), 0) as oldest_s
from signals.ingested_trace where pending > 0
""")


class Metrics:
    """Metrics of this process."""

    def __init__(self, folder: Path | None = None) -> None:
        """Share the metrics through `folder` where several processes serve; None for a single process."""
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

    def exposition(self, pending: PendingSpans) -> bytes:
        """Return all metrics as text, those of the other processes and of `pending` included."""
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]  # the library's
        own = CollectorRegistry()
        own.register(pending)
        return generate_latest(registry) + generate_latest(own)


class PendingSpans(Collector):
    """Collector of the pending spans and of the readiness, read from the database at each scrape."""

    def __init__(self, engine: Engine, revision: str) -> None:
        """Read through an engine of the ingest role; `revision` is the one that the database must be at."""
        self._engine = engine
        self._needed = revision

    def collect(self) -> Iterator[Metric]:
        """Yield the number and the oldest age of pending spans, the readiness, and whether the database answered."""
        up = GaugeMetricFamily("activity_database_up", "Whether the database answered this scrape.")
        spans = GaugeMetricFamily("activity_ingest_pending_spans", "Spans that wait to be written.")
        oldest = GaugeMetricFamily("activity_ingest_oldest_pending_seconds", "Since the oldest of them arrived.")
        ready = GaugeMetricFamily("activity_ingest_ready", "Whether schema and rights let spans be kept and written.")
        try:
            ready.add_metric([], float(obstacle(self._engine, self._needed) is None))
            with self._engine.connect() as conn:
                row = conn.execute(_PENDING).one()
            spans.add_metric([], float(row.spans))
            oldest.add_metric([], float(row.oldest_s))
            up.add_metric([], 1)
        except SQLAlchemyError:
            up.add_metric([], 0)
        yield from (up, ready, spans, oldest)


def obstacle(engine: Engine, needed: str) -> str | None:
    """Return what keeps a receiver from storing and writing spans, in words for an operator; None where it can.

    `engine` is one of the ingest role, `needed` the revision that the schema must be at. Raises what the database
    raises.
    """
    with engine.connect() as conn:
        found = conn.execute(_REVISION).scalar()
        if found == DETACHED:
            return "the schema is detached from the host's tables; `activity attach` brings it back"
        if found != needed:
            return f"the database is at revision {found}; this version needs {needed}"
        lacking = ingest_rights.lacking(conn, host.read(conn), INGEST_ROLE)
        faults = catalogue.faults(catalogue.read(conn))
        hidden = catalogue.source_faults(conn, INGEST_ROLE)
    if lacking:
        return f"the role that takes traces in may not: {', '.join(lacking)}; `activity migrate` grants it"
    if hidden:
        return catalogue.source_sentence(hidden)
    if faults:
        return catalogue.as_sentence(faults)
    return None
