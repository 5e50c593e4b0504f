"""What is written down of each answer: a line of JSON in the access log, and a number in the metrics.

Both are noted as they come and worked off many at a time, which takes a fraction of the time that each by itself would.
A line has no query string, no header and nothing else that may be secret.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from multiprocessing.util import Finalize
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.metrics import Metrics
    from api.repeats import Answer

#: Answers are worked off together: so many, or those of so long (seconds).
_ANSWERS: Final = 128
_AGE_S: Final = 0.5
_MAX_PATH_CHARS: Final = 512
_MAX_METHOD_CHARS: Final = 32

#: When it was given, under which name, how long it took (seconds), and to what.
_Note = tuple[float, str, float, "Answer", str, str]


class Records:
    """The access log and the metrics of a process."""

    def __init__(self, metrics: Metrics, stream: TextIO | None) -> None:
        """Take the stream of the log, None for none; closing it remains the caller's."""
        self._metrics = metrics
        self._stream = stream
        self._notes: deque[_Note] = deque()
        self._lock = Lock()

    def keep_flushing(self) -> None:
        """Work off what is noted every half second from now on, and when the process ends."""
        # Not atexit: a server's worker processes end without it.
        Finalize(None, self.flush, exitpriority=10)
        Thread(target=self._flush_forever, name="records", daemon=True).start()

    def note(self, request_id: str, seconds: float, answer: Answer, method: str, path: str) -> None:
        """Note one answer to `method` and `path`, given after `seconds`."""
        self._notes.append((time.time(), request_id, seconds, answer, method, path))
        if len(self._notes) >= _ANSWERS:
            self.flush()

    def flush(self) -> None:
        """Work off what is noted so far."""
        with self._lock:
            # Others may append meanwhile: what is there now is taken, one by one.
            notes = [self._notes.popleft() for _ in range(len(self._notes))]
            self._count(notes)
            if notes and self._stream is not None:
                self._stream.write("".join(_lines(notes)))
                self._stream.flush()

    def _count(self, notes: list[_Note]) -> None:
        durations: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
        for _, _, seconds, answer, method, _ in notes:
            durations[answer.route, method, answer.status[:3]].append(seconds)
        for (route, method, status), seconds_each in durations.items():
            self._metrics.count(route, method, status, seconds_each)

    def _flush_forever(self) -> None:
        while True:
            time.sleep(_AGE_S)
            self.flush()


def _lines(notes: list[_Note]) -> Iterator[str]:
    """Yield a line per note; a second is put into words once."""
    second, words = -1, ""
    for moment, request_id, seconds, answer, method, path in notes:
        if int(moment) != second:
            second = int(moment)
            words = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        caller = answer.caller
        who = f',"tenant_id":{quoted(caller.tenant_id)},"key_id":{quoted(caller.key_id)}' if caller else ""
        yield (
            f'{{"time":"{words}.{int((moment - second) * 1000):03d}Z","event":"request","request_id":"{request_id}"'
            f',"method":{quoted(method[:_MAX_METHOD_CHARS])},"path":{quoted(path[:_MAX_PATH_CHARS])}'
            f',"status":{answer.status[:3]},"duration_ms":{seconds * 1000:.3f},"bytes":{answer.size}{who}}}\n'
        )
