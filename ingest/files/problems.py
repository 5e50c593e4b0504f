"""What is wrong with lines: counted all, kept a few, so that a file of broken lines fits into memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from snapshots.errors import ActivityError

#: How many problems are kept in words.
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
