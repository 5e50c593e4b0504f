"""A system's health as metrics for Prometheus: no label names a tenant.

What the ledger tells of attempts is a gauge over its last hour, not a counter: it is the same after a restart of the
exporter, from a second one, and when retention prunes the ledger. docs/operations.md lists every metric.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ops.health.locks import REASONS
from snapshots.signals import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from ops.health.state import BrokerHealth, DatabaseHealth, IngestHealth, SignalHealth, Spread
    from ops.health.watch import Readings, Watch

MODES: Final = ("tick", "reconcile", "manual")
#: How an attempt can end; its method is known when it succeeded.
ENDS: Final = (("succeeded", "incremental"), ("succeeded", "full"), ("failed", "none"), ("coalesced", "none"))
_QUANTILES: Final = {"p50": "0.5", "p95": "0.95", "p99": "0.99", "max": "1"}

Sample = tuple[tuple[str, ...], float | None]


class HealthCollector(Collector):
    """Tells what a watch has read, at each scrape."""

    def __init__(self, watch: Watch) -> None:
        """Take what reads."""
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; those of a server that is away have no samples."""
        readings = self._watch.readings()
        yield from _of_exporter(readings)
        yield from _of_signals(readings.database.signals if readings.database else ())
        yield from _of_refreshes(readings.database)
        yield from _of_ingest(readings.database)
        yield from _of_broker(readings.broker if readings.broker.answers else None)


def _gauge(name: str, meaning: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(f"activity_{name}", meaning, labels=labels)
    for values, number in samples:
        if number is not None:
            family.add_metric(values, number)
    return family


def _of_exporter(readings: Readings) -> Iterator[Metric]:
    database, broker = readings.database, readings.broker
    yield _gauge("exporter_database_up", "Whether PostgreSQL told its part.", (), [((), database is not None)])
    up = broker.answers if broker.is_configured else None
    yield _gauge("exporter_broker_up", "Whether the broker told its part; absent without one.", (), [((), up)])
    yield _gauge(
        "schema_faults", "Parts of schema signals that are missing or differ.", (), [((), readings.schema_faults)]
    )
    took = {"database": readings.database_took_s, "broker": readings.broker_took_s}
    yield _gauge(
        "exporter_reading_seconds", "How long the last reading took.", ("source",), [((k,), v) for k, v in took.items()]
    )


def _of_signals(signals: Iterable[SignalHealth]) -> Iterator[Metric]:
    listed = list(signals)
    yield _spreads("signal_age_seconds", "Since it was confirmed.", {each.signal: each.ages for each in listed})
    yield _spreads(
        "signal_lag_seconds", "Since the instant it answers for.", {each.signal: each.lags for each in listed}
    )
    for name, meaning, attribute in _SIGNAL_GAUGES:
        yield _gauge(name, meaning, ("signal",), [((each.signal,), getattr(each, attribute)) for each in listed])
    compared = [(each.signal, each.compared) for each in listed if each.compared is not None]
    drift = [((name,), float(each.drift)) for name, each in compared]
    yield _gauge("reconcile_drift_tenants", "Tenants that the last comparison had to repair.", ("signal",), drift)
    ages = [((name,), each.age_s) for name, each in compared]
    yield _gauge("reconcile_age_seconds", "Since the last comparison with a full recompute.", ("signal",), ages)


#: Metrics that are an attribute of each signal.
_SIGNAL_GAUGES: Final = (
    ("signal_period_seconds", "Between two refreshes.", "period_s"),
    ("signal_stale_after_seconds", "The age from which it is stale.", "stale_after_s"),
    ("signal_stale", "Whether some slot is older than that, or has never been confirmed.", "is_stale"),
    ("signal_slots_confirmed", "Of 64 slots of tenants, those that have been confirmed.", "slots_confirmed"),
    ("signal_tenants", "Tenants that have a snapshot.", "tenants"),
    ("refresh_failures_in_a_row", "Of the shard that fails most, since its last success.", "failures_in_a_row"),
    ("capture_installed", "Whether triggers report every change, and refreshes rely on them.", "is_captured"),
    ("capture_lost", "Whether capture is installed, but not relied on: refreshes read every row.", "is_capture_lost"),
    ("capture_marks", "Change marks that wait, counted up to 100000.", "marks_waiting"),
    ("quarantined_tenants", "Tenants that are set aside.", "quarantined"),
    ("database_clock_set_back", "Whether the ledger knows an instant that has not come yet.", "clock_set_back"),
)


def _spreads(name: str, meaning: str, found: Mapping[str, Mapping[str, Spread]]) -> Metric:
    samples = [
        ((signal, over, _QUANTILES[quantile]), number)
        for signal, spreads in found.items()
        for over, spread in spreads.items()
        for quantile, number in asdict(spread).items()
    ]
    return _gauge(name, meaning, ("signal", "over", "quantile"), samples)


def _of_refreshes(database: DatabaseHealth | None) -> Iterator[Metric]:
    kind = ("signal", "mode", "method", "outcome")
    yield _gauge("refresh_attempts_last_hour", "Attempts that ended in the last hour.", kind, _counts(database))
    attempts = database.attempts if database else ()
    keys = [(each.signal, each.mode, each.method, each.outcome) for each in attempts]
    for name, meaning, values in (
        ("refresh_mean_duration_seconds", "Mean over the last hour.", [each.mean_s for each in attempts]),
        ("refresh_max_duration_seconds", "Longest of the last hour.", [each.max_s for each in attempts]),
        ("refresh_rows_changed_last_hour", "Rows written in the last hour.", [each.rows_changed for each in attempts]),
    ):
        yield _gauge(name, meaning, kind, zip(keys, values, strict=True))
    yield from _of_last(database)
    yield _blocked(database)
    waiting = database.waiting if database else ()
    found = {each.mode: each for each in waiting}
    modes = MODES if database else ()
    counts = [((mode,), found[mode].count if mode in found else 0) for mode in modes]
    yield _gauge("requests_waiting", "Rows of the ledger that no worker has begun.", ("mode",), counts)
    oldest = [((each.mode,), each.oldest_s) for each in waiting]
    yield _gauge("requests_oldest_age_seconds", "Since the oldest of them was asked for.", ("mode",), oldest)


def _blocked(database: DatabaseHealth | None) -> Metric:
    """Return since when refreshes have met a lock, 0 where they have not."""
    found = {(each.signal, each.reason): each.since_s for each in database.blocked} if database else {}
    kinds = product(SIGNALS, REASONS.values()) if database else ()
    samples = [(kind, found.get(kind, 0.0)) for kind in kinds]
    meaning = "Since refreshes have met a lock; 0 without."
    return _gauge("refresh_blocked_seconds", meaning, ("signal", "reason"), samples)


def _counts(database: DatabaseHealth | None) -> Iterator[Sample]:
    """Yield the number of each kind of attempt, 0 included: what has never failed is to be seen as such."""
    if database is None:
        return
    counts = {(each.signal, each.mode, each.method, each.outcome): each.count for each in database.attempts}
    for signal, mode, (outcome, method) in product(SIGNALS, MODES, ENDS):
        counts.setdefault((signal, mode, method, outcome), 0)
    yield from counts.items()


def _of_last(database: DatabaseHealth | None) -> Iterator[Metric]:
    last = database.last if database else ()
    keys = [(each.signal, each.mode) for each in last]
    for name, meaning, values in (
        (
            "refresh_last_success_timestamp_seconds",
            "When the last one ended.",
            [x.finished_at.timestamp() for x in last],
        ),
        ("refresh_last_duration_seconds", "How long the last one took.", [x.duration_s for x in last]),
        ("refresh_last_rows_changed", "Rows that the last one wrote.", [x.rows_changed for x in last]),
    ):
        yield _gauge(name, meaning, ("signal", "mode"), zip(keys, values, strict=True))


def _of_ingest(database: DatabaseHealth | None) -> Iterator[Metric]:
    """Yield what the receiver tells too, for when none runs; no samples where nothing is taken in."""
    ingest = database.ingest if database else None
    for name, meaning, number in _INGEST_GAUGES:
        yield _gauge(name, meaning, (), [((), number(ingest))] if ingest else [])


#: Metrics that are one number of what is taken in.
_INGEST_GAUGES: Final[Sequence[tuple[str, str, Callable[[IngestHealth], float]]]] = (
    ("ingest_pending_spans", "Spans that wait to be written.", lambda ingest: ingest.spans_waiting),
    ("ingest_oldest_pending_seconds", "Since the oldest of them arrived; 0 without.", lambda ingest: ingest.oldest_s),
    (
        "ingest_last_arrival_timestamp_seconds",
        "When the last span came.",
        lambda ingest: ingest.last_arrived_at.timestamp(),
    ),
)


def _of_broker(broker: BrokerHealth | None) -> Iterator[Metric]:
    queues = broker.queues if broker else ()
    depth = [((each.queue,), each.messages) for each in queues]
    yield _gauge("queue_messages", "Messages that wait, expired ones included.", ("queue",), depth)
    oldest = [((each.queue,), each.oldest_s if each.messages else 0) for each in queues]
    yield _gauge("queue_oldest_age_seconds", "Since the oldest of them was sent; 0 without any.", ("queue",), oldest)
    for name, meaning, number in _BROKER_GAUGES:
        yield _gauge(name, meaning, (), [((), number(broker))] if broker else [])


#: Metrics that are one number of the broker's.
_BROKER_GAUGES: Final[Sequence[tuple[str, str, Callable[[BrokerHealth], float]]]] = (
    ("unacked_messages", "Messages that workers have taken and not finished.", lambda broker: broker.unacked),
    (
        "unacked_oldest_age_seconds",
        "Since the oldest was taken; 0 without.",
        lambda broker: broker.unacked_oldest_s or 0,
    ),
    ("workers_alive", "Workers that answer.", lambda broker: len(broker.workers)),
    ("beat_lock_held", "Whether a beat is active.", lambda broker: broker.beat_lock_s is not None),
    ("beat_lock_ttl_seconds", "What is left of its lock; 0 without one.", lambda broker: broker.beat_lock_s or 0),
    (
        "broker_may_evict",
        "Whether the broker drops keys when memory is full.",
        lambda broker: broker.evicts is not None,
    ),
)
