"""A system's health, read again and again: kept for some seconds, so that asking often costs little."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ops.health import ledger
from ops.health.broker import Broker
from ops.health.state import BrokerHealth, DatabaseHealth, Report
from snapshots import catalogue, database
from snapshots.errors import VisibilityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from snapshots.settings import Settings

#: What was read is told again for so long, seconds.
KEPT_S: Final = 5.0
#: The number of tenants per slot, which costs most with many of them, is told again for so many times what it took.
_CROWDS_KEPT: Final = 100
#: A server that is gone without a word is given up after about ten seconds.
_GIVING_UP: Final = {
    "keepalives_idle": "4",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "9000",
}


@dataclass(frozen=True, slots=True)
class Readings:
    """Last reading; `database` is None when PostgreSQL did not answer, or may hide rows. Durations in seconds."""

    database: DatabaseHealth | None
    broker: BrokerHealth
    database_took_s: float
    broker_took_s: float
    schema_faults: int | None = None


class Watch:
    """Reads a system's health when asked, by whichever thread asks first."""

    def __init__(self, engine: Engine, settings: Settings, timer: Callable[[], float] = time.monotonic) -> None:
        """Take an engine of the worker's role, and the timer that says how old a reading is."""
        self._engine = engine
        self._settings = settings
        self._timer = timer
        self._broker = Broker(settings, timer)
        self._lock = threading.Lock()
        self._readings: tuple[float, Readings] | None = None
        self._crowds: ledger.Crowds = {}
        self._crowds_until = float("-inf")

    def readings(self) -> Readings:
        """Return what both tell, or told a moment ago; neither has to answer."""
        with self._lock:
            if self._readings is None or self._timer() - self._readings[0] >= KEPT_S:
                found = self._read()
                self._readings = self._timer(), found
            return self._readings[1]

    def report(self) -> Report:
        """Return what both tell now. Raises what the database raises."""
        return Report(self._database(), self._broker.read())

    def _read(self) -> Readings:
        start = self._timer()
        found, faults = None, None
        try:
            found = self._database()
        except (SQLAlchemyError, VisibilityError):
            pass
        else:
            faults = len(found.schema_faults)
            # Numbers of what may be hidden would read as an empty system.
            found = None if faults else found
        between = self._timer()
        broker = self._broker.read()
        return Readings(found, broker, between - start, self._timer() - between, faults)

    def _database(self) -> DatabaseHealth:
        with self._engine.connect() as conn:
            ledger.begin(conn)
            faults = ledger.schema_faults(conn)
            if (start := self._timer()) >= self._crowds_until:
                self._crowds = ledger.crowds(conn)
                self._crowds_until = start + _CROWDS_KEPT * (self._timer() - start)
            try:
                return replace(ledger.read(conn, self._settings, self._crowds), schema_faults=faults)
            except DBAPIError:
                if faults:
                    raise VisibilityError(catalogue.as_sentence(faults)) from None
                raise


def connect(settings: Settings, name: str) -> Engine:
    """Return an engine of the worker's role that does not wait long for a server that is away."""
    url = database.url_of(settings, "worker").update_query_dict(_GIVING_UP)
    return database.connect(
        url,
        name=name,
        connect_timeout_s=2,
        read_deadline_s=ledger.STATEMENT_TIMEOUT_S + 1,
        pool_size=1,
        max_overflow=0,
    )
