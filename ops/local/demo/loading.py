"""The demo's past into the database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine, func, select

from ingest.files.load_rows import store
from ops.local.demo.agents import TENANTS
from ops.local.demo.history import SEED, tell_history
from snapshots import database

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import URL


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Result of a load: rows per table, those that existed included, and the duration in seconds."""

    as_of: datetime
    tenants: int
    runs: int
    traces: int
    steps: int
    seconds: float


def load_demo(where: Engine | URL | str, as_of: datetime | None = None, *, seed: int = SEED) -> DemoReport:
    """Store eight days of demo data up to `as_of`, by default the database's present, in one transaction.

    The same `as_of` and `seed` give the same rows, and loading them again changes nothing.
    """
    started = time.monotonic()
    engine = where if isinstance(where, Engine) else database.connect(where, name="activity demo", hide_parameters=True)
    try:
        with engine.begin() as conn:
            until: datetime = as_of or conn.execute(select(func.clock_timestamp())).scalar_one()
            records = tell_history(until, seed=seed)
            store(conn, records.by_table())
    finally:
        if engine is not where:
            engine.dispose()
    counts = (len(records.runs), len(records.traces), len(records.steps))
    return DemoReport(until, len(TENANTS), *counts, seconds=time.monotonic() - started)
