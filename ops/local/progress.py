"""Progress of long work: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console

if TYPE_CHECKING:
    from types import TracebackType


class Progress:
    """Prints one line per event; on a terminal a spinner shows that the work goes on."""

    def __init__(self) -> None:
        """Write to standard output."""
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._status = self._console.status("running; Ctrl-C stops") if self._console.is_terminal else None

    def __enter__(self) -> Self:
        """Show the spinner."""
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, ex: BaseException | None, trace: TracebackType | None) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()

    def say(self, words: str) -> None:
        """Print a line."""
        self._console.print(words)
