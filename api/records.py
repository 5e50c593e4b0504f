"""The access log: a line of JSON per answer, without the query string, headers or anything else that may be secret."""

from __future__ import annotations

import atexit
import time
from collections import deque
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from api.repeats import Answer

#: Lines are written together: so many, or those of so long (seconds).
_LINES: Final = 64
_AGE_S: Final = 0.5
_MAX_PATH_CHARS: Final = 512


class AccessLog:
    """Writes lines to a stream, several at a time."""

    def __init__(self, stream: TextIO) -> None:
        """Take the stream; closing it remains the caller's."""
        self._stream = stream
        self._lines: deque[str] = deque()
        self._lock = Lock()
        self._second = (0, "")

    def keep_flushing(self) -> None:
        """Write what is noted, every half second from now on, and when the process ends."""
        atexit.register(self.flush)
        Thread(target=self._flush_forever, name="access-log", daemon=True).start()

    def write(  # noqa: PLR0913, PLR0917  # the members of a line; naming them costs, and this runs for every request
        self, request_id: str, method: str, path: str, status: int, seconds: float, answer: Answer
    ) -> None:
        """Note one answer, given after `seconds`."""
        caller = answer.caller
        who = f',"tenant_id":{quoted(caller.tenant_id)},"key_id":{quoted(caller.key_id)}' if caller else ""
        self._lines.append(
            f'{{"time":"{self._time()}","event":"request","request_id":"{request_id}","method":{quoted(method)}'
            f',"path":{quoted(path[:_MAX_PATH_CHARS])},"status":{status}'
            f',"duration_ms":{seconds * 1000:.3f},"bytes":{answer.size}{who}}}\n'
        )
        if len(self._lines) >= _LINES:
            self.flush()

    def _time(self) -> str:
        """Return the present instant; its second is put into words once."""
        now = time.time()
        second = int(now)
        if second != self._second[0]:
            self._second = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
        return f"{self._second[1]}.{int((now - second) * 1000):03d}Z"

    def flush(self) -> None:
        """Write the lines noted so far."""
        with self._lock:
            # Others may append meanwhile: what is there now is taken, one by one.
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines:
                self._stream.write("".join(lines))
                self._stream.flush()

    def _flush_forever(self) -> None:
        while True:
            time.sleep(_AGE_S)
            self.flush()
