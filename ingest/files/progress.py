"""Progress of a load: a bar on a terminal, a line per file elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console


class LoadProgress(Protocol):
    """Hears how a load goes on."""

    def expect(self, size: int) -> None:
        """Hear the size of all files, bytes; again when the load begins again."""

    def begin(self, words: str) -> None:
        """Hear what is done from now on."""

    def advance(self, size: int) -> None:
        """Hear that `size` more bytes were read."""


class Silence:
    """Shows nothing."""

    def expect(self, size: int) -> None:
        """Ignore it."""

    def begin(self, words: str) -> None:
        """Ignore it."""

    def advance(self, size: int) -> None:
        """Ignore it."""


class LineProgress(Silence):
    """Prints a line on standard error for each thing that begins."""

    def begin(self, words: str) -> None:
        """Print it."""
        click.echo(words, err=True)


class BarProgress:
    """Shows a bar of the bytes read on a terminal; use as a context manager."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        words = TextColumn("{task.description}", markup=False)
        self._bar = Progress(words, BarColumn(), DownloadColumn(), TimeElapsedColumn(), console=console, transient=True)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, ex: BaseException | None, trace: TracebackType | None) -> None:
        """Take the bar away."""
        self._bar.stop()

    def expect(self, size: int) -> None:
        """Take `size` bytes as the whole, none of them read yet."""
        self._bar.update(self._task, total=size, completed=0)

    def begin(self, words: str) -> None:
        """Write it before the bar."""
        self._bar.update(self._task, description=words)

    def advance(self, size: int) -> None:
        """Move the bar."""
        self._bar.advance(self._task, size)
