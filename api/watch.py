"""A database that stops answering without a word: nobody waits for it for long, and nobody joins those who wait.

PostgreSQL's own time limits need a server that runs. One that is frozen, or behind a network that swallows packets,
keeps a connection open and silent, and libpq waits. Here each read has an instant until which it waits; past it its
connection is cut under it. From then on reads fail at once, but for one at a time, which tries again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final, cast

from snapshots.errors import DatabaseUnavailableError

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
_LOOK_S: Final = 0.25


def driver_connection(connection: SqlConnection) -> Connection:
    """Return what the driver calls a connection."""
    return cast("Connection", connection.connection.dbapi_connection)


class Wait:
    """A read under way, from `with` to its end: it waits for an answer until an instant of the timer, seconds."""

    __slots__ = ("_socket", "_waits", "until")

    def __init__(self, waits: _Waits, connection: Connection, until: float) -> None:
        """Take the connection; a descriptor of our own keeps its number from meaning another socket meanwhile."""
        self._waits = waits
        self._socket = os.dup(connection.fileno())
        self.until = until

    def __enter__(self) -> None:
        """Begin to wait."""
        self._waits.add(self)

    def __exit__(self, *_: object) -> None:
        """Stop waiting: the read is over, however it ended."""
        with self._waits.lock:
            self._waits.discard(self)
            os.close(self._socket)

    def cut(self) -> None:
        """End both directions of the connection: whoever waits on it finds it closed."""
        with socket.socket(fileno=os.dup(self._socket)) as ours, contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)


class _Waits(set[Wait]):
    """The reads under way, and the lock under which one is cut or ends."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = Lock()


class Watch:
    """Watches over the reads of one database."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        """Take the timer; nothing is cut until `keep_watching` or `cut_silent` is called."""
        self._timer = timer
        self._waits = _Waits()
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
        now = self._timer()
        with self._waits.lock:
            for wait in [each for each in self._waits.copy() if now >= each.until]:
                wait.cut()

    def keep_watching(self) -> None:
        """Cut what is silent from now on, until the process ends."""
        Thread(target=self._watch_forever, name="watch", daemon=True).start()

    def _watch_forever(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            self.cut_silent()
