"""LogWriter for somebody who may read slowly, or stop: whoever has something to write down never waits for that.

They wait in memory, up to a bound, for a thread that writes them. A line is written whole, where several processes
share a pipe too, and also if writing was interrupted in the middle of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import sys
from collections import deque
from threading import Condition, Thread
from typing import TYPE_CHECKING, Final, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What may wait in memory, bytes: two seconds of the busiest process, hours of an idle one.
MAX_BYTES: Final = 8 * 2**20
#: A process that ends waits for its reader, seconds.
END_S: Final = 1.0

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Destination of log lines. `piece` is the number of bytes that one write keeps together."""

    piece: int

    def write(self, lines: bytes, /) -> int:
        """Write some of `lines`, however long the reader takes, and return how many bytes. Raises OSError."""


class Descriptor:
    """A descriptor that this process inherited, written to past Python's own buffer.

    That one is locked while a write waits for the reader, and the end of the process would wait for the lock.
    """

    def __init__(self, number: int) -> None:
        """Take the descriptor; closing it remains the caller's."""
        self._number = number
        is_file = stat.S_ISREG(os.fstat(number).st_mode)
        self.piece = sys.maxsize if is_file else select.PIPE_BUF

    def write(self, lines: bytes, /) -> int:
        """Write some of `lines`, however long the reader takes, and return how many bytes. Raises OSError."""
        try:
            return os.write(self._number, lines)
        except BlockingIOError:  # somebody with whom we share it has it so
            select.select([], [self._number], [])
            return 0


def inherited(stream: TextIO | None) -> Descriptor | None:
    """Return the descriptor behind a standard stream; None where the process was started without."""
    return None if stream is None else Descriptor(stream.fileno())


class LogWriter:
    """The lines that wait for a sink."""

    def __init__(self, sink: Sink, lose: Callable[[int], object], *, most: int = MAX_BYTES) -> None:
        """Take what is told how many lines could not be written, and how many bytes may wait."""
        self._sink = sink
        self._lose = lose
        self._most = most
        self._waiting: deque[bytes] = deque()
        # Bytes since the start: those that came, and those that went, whose number the writing thread alone changes.
        self._came = self._gone = 0
        self._changed = Condition()
        # The rest of a line whose beginning is written.
        self._begun = b""

    @property
    def waiting(self) -> int:
        """Return how many bytes wait, those included that are being written."""
        return self._came - self._gone

    def put(self, lines: bytes) -> bool:
        """Have whole lines written; tell whether there was room for them, without which they are lost."""
        with self._changed:
            has_room = self.waiting + len(lines) <= self._most
            if has_room:
                self._waiting.append(lines)
                self._came += len(lines)
                self._changed.notify_all()
        return has_room

    def write_waiting(self) -> None:
        """Write what waits now, however long the reader takes; what cannot be written is lost. One thread at a time."""
        with self._changed:
            lines = b"".join(self._waiting)
            self._waiting.clear()
        end = self._gone + len(lines)
        try:
            for piece in _pieces(lines, self._sink.piece):
                self._write(piece)
                self._gone += len(piece)
        finally:
            with self._changed:
                self._gone = end
                self._changed.notify_all()

    def keep_writing(self) -> None:
        """Write what waits from now on, in a thread of its own, until the process ends."""
        Thread(target=self._write_forever, name="lines", daemon=True).start()

    def wait(self, seconds: float = END_S) -> None:
        """Wait until nothing waits any more, for so many seconds at most; by default as a process does that ends."""
        with self._changed:
            self._changed.wait_for(lambda: not self.waiting, seconds)

    def _write(self, piece: bytes) -> None:
        lines, written = self._begun + piece, 0
        # A pipe without a reader, a full disk; ValueError: a stream that is closed.
        with contextlib.suppress(OSError, ValueError):
            while written < len(lines):
                written += self._sink.write(lines[written:])
        is_within_a_line = not lines.endswith(b"\n", 0, written) if written else bool(self._begun)
        self._begun = lines[written : lines.find(b"\n", written) + 1] if is_within_a_line else b""
        lost = lines.count(b"\n", written + len(self._begun))
        if lost:
            self._lose(lost)

    def _write_forever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
            try:
                self.write_waiting()
            except Exception:  # noqa: BLE001  # it would end for good, and nothing be written any more
                _log.exception("writing lines failed, and goes on")


def _pieces(lines: bytes, most: int) -> Iterator[bytes]:
    """Yield `lines` in pieces that end where a line does, of at most so many bytes; a longer line is one by itself."""
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + most) + 1 or lines.index(b"\n", start) + 1
        yield lines[start:end]
        start = end
