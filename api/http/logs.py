"""The log of an API process: a line of JSON per event on standard error, time in UTC."""

from __future__ import annotations

import logging
import time
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any, Final

from pythonjsonlogger.json import JsonFormatter

from api.http.log_writer import LogWriter

if TYPE_CHECKING:
    from api.http.log_writer import Sink

_RENAMED: Final = {"asctime": "time", "levelname": "level", "name": "logger"}
_FIELDS: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
#: The same, for a server that configures its own loggers from a dictionary.
FORMATTER: Final[dict[str, Any]] = {"()": "api.http.logs.formatter"}
#: Events that may wait for whoever reads them, bytes: about a thousand.
_MAX_BYTES: Final = 2**18


class LogWriterHandler(logging.Handler):
    """Hands events to lines, so that nobody who logs waits for the reader; says of those that were lost how many."""

    def __init__(self, sink: Sink) -> None:
        """Take where events go."""
        super().__init__()
        self.lines = LogWriter(sink, self._lose, most=_MAX_BYTES)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Have `record` written, behind a word on those lost before it."""
        lost = self._lost
        told = self._line(_loss(lost)) if lost else b""
        self._lose(-lost if self.lines.put(told + self._line(record)) else 1)

    def keep_writing(self) -> None:
        """Write events from now on; a process that ends waits a moment for their reader."""
        self.lines.keep_writing()
        # Not atexit: a server's worker processes end without it.
        Finalize(None, self.lines.wait, exitpriority=0)

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="backslashreplace")

    def _lose(self, events: int) -> None:
        # The thread that writes loses some too, while others are handed over under this very lock.
        self.acquire()
        try:
            self._lost += events
        finally:
            self.release()


def formatter() -> logging.Formatter:
    """Return the formatter of every logger of an API process."""
    made = JsonFormatter(_FIELDS, _TIME, rename_fields=_RENAMED)
    made.converter = time.gmtime
    return made


def configure(level: str, sink: Sink | None = None) -> None:
    """Send every logger's events from `level` on to standard error, or to `sink`, for which nobody waits who logs."""
    handler = logging.StreamHandler() if sink is None else _patient(sink)
    handler.setFormatter(formatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _patient(sink: Sink) -> LogWriterHandler:
    handler = LogWriterHandler(sink)
    handler.keep_writing()
    return handler


def _loss(events: int) -> logging.LogRecord:
    """Return the event that so many others were lost."""
    words = "events lost: nobody read them, or there was no room for them"
    record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, None, None)
    record.events = events
    return record
