"""Log of repeated failures: each at once, then once a minute with a count while it goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final

from snapshots.errors import sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

#: A failure that is the same is told again after so many seconds.
SILENCE_S: Final = 60.0

#: The work, the class of the error and its SQLSTATE: failures that share them are the same.
_Kind = tuple[str, str, str | None]


@dataclass(slots=True)
class Failures:
    """Writer of failures to `log`, safe to share between threads; `times` counts those that a line stands for."""

    log: Logger
    timer: Callable[[], float] = time.monotonic
    _silent_until: dict[_Kind, float] = field(default_factory=dict)
    _untold: dict[_Kind, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def tell(self, what: str, error: Exception, *, is_foreseen: bool) -> None:
        """Log a failure unless the same one was logged within `SILENCE_S`; an unexpected one with its traceback."""
        kind = what, type(error).__name__, sqlstate(error)
        now = self.timer()
        with self._lock:
            times = self._untold.get(kind, 0) + 1
            is_due = now >= self._silent_until.get(kind, now)
            self._untold[kind] = 0 if is_due else times
            if is_due:
                self._silent_until[kind] = now + SILENCE_S
        if not is_due:
            return
        extra = {"cause": kind[1], "pgcode": kind[2], "times": times}
        if is_foreseen:
            self.log.warning(what, extra=extra)
        else:
            self.log.error(what, exc_info=error, extra=extra)
