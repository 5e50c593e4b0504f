"""Derivation of latency, evidence and risk for the runs that were made of telemetry.

A function of the rows and `as_of`; docs/opentelemetry.md "Latency, evidence and risk" holds the rules.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from snapshots import queries

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from snapshots.queries import Query

#: A run is expected to take this long where its row does not say; milliseconds.
EXPECTED_MS: Final = 60_000
#: It is SLOW up to so many times what is expected, and STALLED beyond.
SLOW_UP_TO: Final = 5
#: A run under way without a new span for this long is STALLED; seconds.
SILENCE_S: Final = 120


class Derivation(NamedTuple):
    """Counts of runs that were judged, that changed, and that are settled until they are written again."""

    judged: int
    changed: int
    settled: int


def derive(conn: Connection, as_of: datetime) -> Derivation:
    """Judge at `as_of` the runs that are due, in the caller's transaction; those that others judge are left to them."""
    values = {"as_of": as_of, "expected_ms": EXPECTED_MS, "slow_up_to": SLOW_UP_TO, "silence_s": SILENCE_S}
    return Derivation(*conn.execute(_query().text, values).one())


@cache
def _query() -> Query:
    source = resources.files("ingest").joinpath("assembly", "sql", "derive_runs.sql")
    return queries.parse("derive_runs", source.read_text(encoding="utf-8"))
