"""Signals that end `activity up`: the first interrupts what it does, each further one hastens its end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):  # like KeyboardInterrupt: no error, and not to be caught as one
    """Somebody asked this process to end."""


class Interruption:
    """Raises Interrupted at the first signal, wherever the main thread is; `is_hurried` tells of a second one."""

    def __init__(self) -> None:
        """Expect the first signal."""
        self._interrupts = True
        self._hastened = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Listen."""
        self._before = {number: signal.signal(number, self._note) for number in _ENDING}
        return self

    def __exit__(self, kind: type[BaseException] | None, ex: BaseException | None, trace: TracebackType | None) -> bool:
        """Stop listening; being asked to end is a good end."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return isinstance(ex, Interrupted)

    def is_hurried(self) -> bool:
        """Tell whether a signal came after the first."""
        return self._hastened

    def no_more(self) -> None:
        """Interrupt no more: the end has begun, and what comes from here on hastens it."""
        self._interrupts = False

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if not self._interrupts:
            self._hastened = True
            return
        self._interrupts = False
        raise Interrupted
