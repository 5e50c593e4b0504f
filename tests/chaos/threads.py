"""Threads that do something over and over until they are told that it is over."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Threads:
    """Runs each of `tasks` in a thread of its own, from entering to leaving it as a context manager."""

    def __init__(self, *tasks: Callable[[], None]) -> None:
        """Take what is run; a task returns soon after `over` is set."""
        self.over = Event()
        self._threads = [Thread(target=task) for task in tasks]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, ex: BaseException | None, trace: TracebackType | None) -> None:
        """Say that it is over, and wait until what is under way is done."""
        self.over.set()
        for thread in self._threads:
            thread.join()
