"""Recorder of responses: a line of JSON in the access log, and counts in the metrics.

Both are noted as they come and worked off many at a time, which takes a fraction of the time that each by itself would.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from datetime import UTC, datetime
from multiprocessing.util import Finalize
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from api.http.answers import Answer, Kind
    from api.http.log_writer import LogWriter
    from api.http.metrics import Metrics

#: Answers are worked off together: so many, or those of so long (seconds).
_ANSWERS: Final = 128
_AGE_S: Final = 0.5

#: When the request came and when it was answered (seconds of `time.perf_counter`), under which name, and how.
Note = tuple[float, float, str, "Answer"]

_log = logging.getLogger(__name__)


class RequestRecorder:
    """The access log and the metrics of a process."""

    def __init__(self, metrics: Metrics, log: LogWriter | None) -> None:
        """Take the lines of the log, None for none."""
        self._metrics = metrics
        self.log = log
        self._notes: deque[Note] = deque()
        self._lock = Lock()

    def keep_flushing(self, *others: Callable[[], object]) -> None:
        """Work off what is noted every half second from now on, and when the process ends; call `others` meanwhile."""
        # Not atexit: a server's worker processes end without it.
        Finalize(None, self._end, exitpriority=10)
        if self.log is not None:
            self.log.keep_writing()
        Thread(target=self._flush_forever, args=(others,), name="records", daemon=True).start()

    def note(self, note: Note) -> None:
        """Note one answer."""
        notes = self._notes
        notes.append(note)
        if len(notes) >= _ANSWERS:
            self.flush()

    def flush(self) -> None:
        """Work off what is noted so far, which waits for nobody who reads the log."""
        with self._lock:
            # Others may append meanwhile: what is there now is taken, one by one.
            take = self._notes.popleft
            notes = [take() for _ in range(len(self._notes))]
            self._count(notes)
            if notes and self.log is not None and not self.log.put("".join(_lines(notes)).encode()):
                self._metrics.count_lost_lines(len(notes))

    def _end(self) -> None:
        self.flush()
        if self.log is not None:
            self.log.wait()

    def _count(self, notes: list[Note]) -> None:
        durations: defaultdict[Kind, list[float]] = defaultdict(list)
        for began, ended, _, answer in notes:
            durations[answer.kind].append(ended - began)
        for kind, seconds in durations.items():
            self._metrics.count(*kind, seconds)

    def _flush_forever(self, others: tuple[Callable[[], object], ...]) -> None:
        while True:
            time.sleep(_AGE_S)
            for call in (self.flush, *others):
                try:
                    call()
                except Exception:  # noqa: BLE001  # it would end for good: nothing written, nothing forgotten
                    _log.exception("housekeeping failed, and goes on")


def _lines(notes: list[Note]) -> Iterator[str]:
    """Yield a line per note; a millisecond is put into words once."""
    last, words = -1, ""
    since = time.time() - time.perf_counter()
    for began, ended, request_id, answer in notes:
        millis = int((since + ended) * 1000)
        if millis != last:
            last, words = millis, _instant(millis)
        yield (
            f'{{"time":"{words}","event":"request","request_id":"{request_id}"'
            f',"duration_ms":{(ended - began) * 1000:.3f},{answer.words}}}\n'
        )


def _instant(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
