"""Read deadline for PostgreSQL: a connection whose server stays silent is cut.

PostgreSQL's own time limits need a server that runs. One that is frozen, or behind a network that swallows packets,
keeps a connection open and silent, and libpq waits without end. Here each statement has an instant until which it is
waited for; past it a thread cuts the connection, and the driver raises OperationalError.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from psycopg2.extensions import connection as Connection  # noqa: N812  # the driver's class
from psycopg2.extensions import cursor as Cursor  # noqa: N812  # the driver's class
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

#: How often the thread looks, seconds.
LOOK_S: Final = 0.25
#: The deadline of what is sent to a connection in the pool, to find out whether it still works, seconds.
PING_S: Final = 2.0


class Wait:
    """A read under way, from `with` to its end: it waits for an answer until an instant of the timer, seconds."""

    __slots__ = ("_socket", "_waits", "until")

    def __init__(self, waits: Waits, connection: Connection, until: float) -> None:
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


class Waits(set[Wait]):
    """The reads under way, and the lock under which one is cut or ends."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.lock = Lock()

    def cut_silent(self, now: float) -> None:
        """Cut the connections that have waited long enough at the instant `now` of the timer."""
        with self.lock:
            for wait in [each for each in self.copy() if now >= each.until]:
                wait.cut()


class _Process:
    """The reads of this process with a deadline, and the thread that cuts them; a fork begins with neither."""

    def __init__(self) -> None:
        self._waits = Waits()
        self._lock = Lock()
        self._thread: Thread | None = None

    def wait(self, connection: Connection, seconds: float) -> Wait:
        if self._thread is None:
            self._start()
        return Wait(self._waits, connection, time.monotonic() + seconds)

    def forget(self) -> None:
        self.__init__()  # type: ignore[misc]  # a child has no thread, and its locks may be held for ever

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._cut_forever, name="read-deadline", daemon=True)
                self._thread.start()

    def _cut_forever(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self._waits.cut_silent(time.monotonic())


_PROCESS: Final = _Process()
os.register_at_fork(after_in_child=_PROCESS.forget)


class _Cursor(Cursor):
    """A cursor whose statements have the deadline of its connection."""

    def execute(self, *arguments: Any) -> None:  # noqa: ANN401  # the driver's
        with _deadline(self.connection):
            super().execute(*arguments)

    def executemany(self, *arguments: Any) -> None:  # noqa: ANN401  # the driver's
        with _deadline(self.connection):
            super().executemany(*arguments)

    def copy_expert(self, *arguments: Any) -> None:  # noqa: ANN401  # the driver's
        with _deadline(self.connection):
            super().copy_expert(*arguments)


class _Connection(Connection):
    """A connection whose statements, commits and rollbacks have a deadline."""

    deadline_s = PING_S

    def cursor(self, *arguments: Any, **more: Any) -> Any:  # noqa: ANN401  # the driver's
        return super().cursor(*arguments, **{"cursor_factory": _Cursor, **more})

    def commit(self) -> None:
        with _deadline(self):
            super().commit()

    def rollback(self) -> None:
        with _deadline(self):
            super().rollback()


def _deadline(connection: Any) -> contextlib.AbstractContextManager[None]:  # noqa: ANN401  # ours, or a closed one
    return contextlib.nullcontext() if connection.closed else _PROCESS.wait(connection, connection.deadline_s)


#: For `psycopg2.connect`: a connection with a deadline.
factory: Final[Callable[..., Connection]] = _Connection


def keep(engine: Engine, seconds: float) -> None:
    """Have statements on connections of `factory` waited for so many seconds; while one is in the pool, `PING_S`."""

    def checkout(connection: _Connection, *_: object) -> None:
        connection.deadline_s = seconds

    def checkin(connection: _Connection | None, *_: object) -> None:
        if connection is not None:
            connection.deadline_s = PING_S

    event.listen(engine, "checkout", checkout)
    event.listen(engine, "checkin", checkin)
