"""Bounded background queue, drained by one daemon thread: work that no response waits for."""

from __future__ import annotations

import logging
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: More than so much work that waits is left undone.
MOST: Final = 10_000

_log = logging.getLogger(__name__)


class BackgroundQueue:
    """Work that waits, done one piece after the other once somebody has it done."""

    def __init__(self, most: int = MOST) -> None:
        """Take how much work may wait."""
        self._most = most
        self._waiting: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def put(self, work: Callable[[], object]) -> None:
        """Have `work` done later; it is left undone where too much waits."""
        if self._waiting.qsize() < self._most:
            self._waiting.put(work)

    def work_off(self) -> None:
        """Do what waits now."""
        while True:
            try:
                work = self._waiting.get_nowait()
            except Empty:
                return
            work()

    def keep_working(self) -> None:
        """Do what waits from now on, in a thread of its own, until the process ends."""
        Thread(target=self._work_forever, name="aside", daemon=True).start()

    def _work_forever(self) -> None:
        while True:
            work = self._waiting.get()
            try:
                work()
            except Exception:  # noqa: BLE001  # it would end for good, and whatever comes be left undone
                _log.exception("work aside failed, and goes on")
