"""Proof of visibility beside the reads of the API, and the check of the whole schema behind /readyz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from snapshots import catalogue
from snapshots.errors import VisibilityError
from snapshots.visibility import statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.queries.reader import Reader

#: A proof holds for so long, seconds; an answer may be told again for as long.
TTL_S: Final = 1.0

_FOUND: Final = text(catalogue.query().replace(":", "\\:"))
_HIDDEN: Final = text(catalogue.hidden_source())


class Proof:
    """Statement that fails where rows could be hidden from a role, sent in the message of a read once a second."""

    def __init__(self, role: str, timer: Callable[[], float]) -> None:
        """Take the group role of the sessions, and the timer that says how old a proof is."""
        self._statement = statement(role)
        self._timer = timer
        self._made_at = float("-inf")

    def begin(self) -> float:
        """Return the time at which a read begins, for `note`."""
        return self._timer()

    def due(self, *, always: bool = False) -> str:
        """Return the statement to put ahead of a read; empty while the last proof holds."""
        return self._statement if always or self._timer() - self._made_at >= TTL_S else ""

    def note(self, began_at: float) -> None:
        """Keep that a read which carried the statement, and began then, has succeeded."""
        self._made_at = max(self._made_at, began_at)


def check(reader: Reader) -> None:
    """Raise VisibilityError, which names each fault, where a part of the schema is missing or rows could be hidden."""
    faults = catalogue.faults([catalogue.Part(*tuple(row)) for row in reader.rows(_FOUND)])
    if faults:
        raise VisibilityError(catalogue.as_sentence(faults))
    hidden = [f"row-level security of {row.name} hides rows from {row.reader}" for row in reader.rows(_HIDDEN)]
    if hidden:
        raise VisibilityError(catalogue.source_sentence(hidden))
