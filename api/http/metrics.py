"""Metrics of the read layer, for Prometheus: no label names a tenant, a key or a path that a client made up.

With several processes each writes its numbers to a folder that all of them share (PROMETHEUS_MULTIPROC_DIR, which
`activity api` sets), and whichever answers a scrape adds them up.
"""

from __future__ import annotations

import collections
import math
from bisect import bisect_left
from itertools import repeat
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from snapshots.errors import DatabaseUnavailableError, VisibilityError
from snapshots.tables import freshness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from api.queries.reader import Reader

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: The upper bounds of the library's buckets, each inclusive.
_BOUNDS: Final = (*_SECONDS, math.inf)
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_OLDEST: Final = select(freshness.c.signal, func.min(freshness.c.verified_at).label("verified_at")).group_by(
    freshness.c.signal
)


class Metrics:
    """The numbers of this process."""

    def __init__(self, folder: Path | None = None) -> None:
        """Take the folder where several processes meet, None for one alone."""
        self._registry = CollectorRegistry()
        self._folder = folder
        self._durations = Histogram(
            "activity_http_request_duration_seconds",
            "Time from a request's arrival in the process to its answer.",
            ("route", "method", "status"),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._lost_lines = Counter(
            "activity_access_log_lines_lost",
            "LogWriter of the access log that could not be written, or were too many to wait.",
            registry=self._registry,
        )

    def count(self, route: str, method: str, status: str, seconds: Sequence[float]) -> None:
        """Count requests of one kind by how long each took."""
        child = self._durations.labels(route, method if method in _METHODS else "other", status)
        # As `observe` does for each by itself, at a tenth of the cost: one addition per bucket for all of them.
        filled = collections.Counter(map(bisect_left, repeat(_BOUNDS), seconds))
        child._sum.inc(sum(seconds))  # noqa: SLF001  # the library has no way to observe many
        for bucket, requests in filled.items():
            child._buckets[bucket].inc(requests)  # noqa: SLF001  # the same

    def count_lost_lines(self, lines: int) -> None:
        """Count lines of the access log that could not be written."""
        self._lost_lines.inc(lines)

    def exposition(self, ages: Collector | None = None) -> bytes:
        """Return all numbers as text, those of the other processes and of `ages` included."""
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]  # the library's
        own = CollectorRegistry()
        if ages is not None:
            own.register(ages)
        return generate_latest(registry) + generate_latest(own)


class SnapshotAges(Collector):
    """The age of the oldest snapshots of each signal, read when asked."""

    def __init__(self, reader: Reader, clock: Callable[[], datetime]) -> None:
        """Take a reader with the reader's role, and the clock that judges ages."""
        self._reader = reader
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Yield the ages in seconds, and whether the database answered."""
        up = GaugeMetricFamily("activity_database_up", "Whether the database answered this scrape.")
        ages = GaugeMetricFamily(
            "activity_snapshot_verified_age_seconds", "Since the oldest snapshots were confirmed.", labels=["signal"]
        )
        try:
            for row in self._reader.rows(_OLDEST):
                ages.add_metric([row.signal], (self._clock() - row.verified_at).total_seconds())
            up.add_metric([], 1)
        except (SQLAlchemyError, DatabaseUnavailableError, VisibilityError):
            up.add_metric([], 0)
        yield from (up, ages)
