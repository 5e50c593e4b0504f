"""What failed, in the log: at once, and while it goes on failing once a minute, with how often it did."""

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

#: What was being done, the class of the error and its SQLSTATE: these make failures the same.
_Kind = tuple[str, str, str | None]


@dataclass(slots=True)
class Failures:
    """Tells `log` of failures; safe to share between threads. `times` counts those that a line stands for."""

    log: Logger
    timer: Callable[[], float] = time.monotonic
    _silent_until: dict[_Kind, float] = field(default_factory=dict)
    _untold: dict[_Kind, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def tell(self, what: str, error: Exception, *, is_foreseen: bool) -> None:
        """Tell of a failure unless the same was told a moment ago; what nobody foresaw, with its traceback."""
        kind = what, type(error).__name__, sqlstate(error)
        times = self._due(kind)
        if not times:
            return
        extra = {"cause": kind[1], "pgcode": kind[2], "times": times}
        if is_foreseen:
            self.log.warning(what, extra=extra)
        else:
            self.log.error(what, exc_info=error, extra=extra)

    def _due(self, kind: _Kind) -> int:
        """Return how many failures are to be told now, 0 when it is too early."""
        now = self.timer()
        with self._lock:
            times = self._untold.get(kind, 0) + 1
            is_due = now >= self._silent_until.get(kind, now)
            self._untold[kind] = 0 if is_due else times
            if is_due:
                self._silent_until[kind] = now + SILENCE_S
        return times if is_due else 0
