"""Read deadline and circuit breaker for PostgreSQL.

Each read has a deadline (`snapshots.read_deadline`). Once one has passed, reads fail at once, but for one at a time,
which tries again.
"""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING, Final, cast

from snapshots.errors import DatabaseUnavailableError
from snapshots.read_deadline import LOOK_S, Wait, Waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg2.extensions import connection as Connection  # noqa: N812  # the driver's class
    from sqlalchemy import Connection as SqlConnection

#: While a database is away, one read at a time tries whether it is back, so many seconds after the last one failed;
RETRY_S: Final = 1.0
#: if nothing is heard of that one, another does after so many.
TRIAL_S: Final = 10.0
#: A read that failed after longer than this, seconds, failed for want of an answer: others need not wait for the same.
SILENT_S: Final = 1.5


def driver_connection(connection: SqlConnection) -> Connection:
    """Return what the driver calls a connection."""
    return cast("Connection", connection.connection.dbapi_connection)


class CircuitBreaker:
    """Watches over the reads of one database."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        """Take the timer; nothing is cut until `keep_watching` or `cut_silent` is called."""
        self._timer = timer
        self._waits = Waits()
        self._away_until: float | None = None

    def admit(self) -> float:
        """Return the present instant of the timer, seconds. Raises DatabaseUnavailableError while nothing answers."""
        now = self._timer()
        if self._away_until is not None:
            if now < self._away_until:
                raise DatabaseUnavailableError("PostgreSQL did not answer a moment ago")
            self._away_until = now + TRIAL_S
        return now

    def wait(self, connection: Connection, seconds: float) -> Wait:
        """Return a read on `connection` that waits for so many seconds."""
        return Wait(self._waits, connection, self._timer() + seconds)

    @property
    def waiting(self) -> int:
        """Return how many reads are under way."""
        return len(self._waits)

    def note_answer(self) -> None:
        """Note that the database answered."""
        self._away_until = None

    def note_failure(self, admitted: float) -> bool:
        """Tell whether a read that was admitted then failed for want of an answer: then the database is away."""
        now = self._timer()
        is_silent = now - admitted >= SILENT_S
        self._away_until = now + RETRY_S if is_silent else None
        return is_silent

    def cut_silent(self) -> None:
        """Cut the connections that have waited long enough."""
        self._waits.cut_silent(self._timer())

    def keep_watching(self) -> None:
        """Cut what is silent from now on, until the process ends."""
        Thread(target=self._watch_forever, name="watch", daemon=True).start()

    def _watch_forever(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self.cut_silent()
