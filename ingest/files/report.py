"""Outcome of a load: its errors, the problems of its lines, its report, and its progress.

Problems are all counted and only the first are kept in words, so that a file of broken lines fits into memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, Self

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

#: Problems that are kept in words.
KEPT: Final = 20
_SHOWN_CHARACTERS: Final = 40


class LoadError(ActivityError):
    """Nothing could be loaded; the message says why."""


class FieldError(ValueError):
    """The fields of a line, or of a whole file, are not those of the table."""


class UnreadableError(Exception):
    """A file cannot be read from here on."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that cannot be loaded, and why; `line` counts from 1 and is the line where the record begins."""

    line: int
    message: str


@dataclass(slots=True)
class Problems:
    """The problems of one load: `kept` holds the first of them as `file:line: field: message`."""

    kept: list[str] = field(default_factory=list)
    by_table: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Return how many lines cannot be loaded."""
        return self.by_table.total()

    def add(self, table: str, place: str, problem: Problem) -> None:
        """Note a problem of the file `place`."""
        self.by_table[table] += 1
        if len(self.kept) < KEPT:
            self.kept.append(f"{place}:{problem.line}: {problem.message}")

    def add_unkept(self, table: str, count: int) -> None:
        """Count problems without their words."""
        self.by_table[table] += count


def shown(value: object) -> str:
    """Return `value` for a message: quoted, and cut where it is long."""
    words = value if isinstance(value, str) else str(value)
    return repr(words) if len(words) <= _SHOWN_CHARACTERS else f"{words[:_SHOWN_CHARACTERS]!r}..."


@dataclass(slots=True)
class TableReport:
    """Counts of a table's lines by outcome; a `superseded` line was followed by another of the same key."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    skipped: int = 0

    @property
    def lines(self) -> int:
        """Return how many lines there were."""
        return self.inserted + self.updated + self.unchanged + self.superseded + self.skipped

    def as_text(self) -> str:
        """Return the counts in words."""
        known = f"{self.inserted} inserted, {self.updated} updated, {self.unchanged} unchanged, {self.skipped} skipped"
        return f"{known}, {self.superseded} superseded by later lines" if self.superseded else known


@dataclass(slots=True)
class LoadReport:
    """The result of a load; `problems` holds the first bad lines as `file:line: field: what was expected`.

    `remarks` counts rows that were stored and may not mean what their writer meant.
    """

    tables: dict[str, TableReport] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    files: int = 0
    seconds: float = 0.0
    is_stored: bool = True

    @property
    def skipped(self) -> int:
        """Return how many lines were bad."""
        return sum(table.skipped for table in self.tables.values())

    @property
    def lines(self) -> int:
        """Return how many lines were read."""
        return sum(table.lines for table in self.tables.values())

    def as_text(self) -> str:
        """Return the report in lines; the problems are not in it."""
        rate = self.lines / self.seconds if self.seconds else 0.0
        if not self.is_stored:
            return f"nothing was loaded: {self.skipped} of {self.lines} lines are bad, and --strict was given"
        counts = [f"{name}: {table.as_text()}" for name, table in self.tables.items() if table.lines]
        remarks = [f"note: {each}" for each in self.remarks]
        return "\n".join(
            [*counts, *remarks, f"{self.lines} lines of {self.files} files in {self.seconds:.1f} s, {rate:,.0f}/s"]
        )


class LoadProgress(Protocol):
    """Listener to the progress of a load."""

    def expect(self, size: int) -> None:
        """Take the size of all files, bytes; called again when the load begins again."""

    def begin(self, words: str) -> None:
        """Take the description of the next step."""

    def advance(self, size: int) -> None:
        """Take the number of further bytes that were read."""


class Silence:
    """Progress that is shown nowhere."""

    def expect(self, size: int) -> None:
        """Ignore it."""

    def begin(self, words: str) -> None:
        """Ignore it."""

    def advance(self, size: int) -> None:
        """Ignore it."""


class LineProgress(Silence):
    """Progress as a line on standard error for each step."""

    def begin(self, words: str) -> None:
        """Print it."""
        click.echo(words, err=True)


class BarProgress:
    """Progress as a bar of the bytes read, on a terminal; use as a context manager."""

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
