"""Cursors: where a page of the runs list ended, as opaque text that only fits the list it came from.

Source: docs/specification-notes.md#runs-list.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Final

from api.http.problems import ProblemError, invalid_parameter

MAX_CURSOR_CHARS: Final = 2048
_NAME: Final = "cursor"
_EXPECTED: Final = "the next_cursor of an earlier page, unchanged"


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page: its sort key as PostgreSQL prints it (None is NULL), and its run."""

    key: str | None
    run_id: str


def fingerprint(*parts: object) -> str:
    """Return a short text that differs when `parts` do: the tenant, the filters, the sort and the order of a list."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def encode(position: Position, of_list: str) -> str:
    """Return the cursor of `position` in the list that has the fingerprint `of_list`."""
    text = json.dumps([of_list, position.key, position.run_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, of_list: str) -> Position:
    """Return the position of `cursor`. Raises ProblemError (400) when it is made up, or of another list."""
    made_by, key, run_id = _parts(cursor)
    if made_by != of_list:
        raise invalid_parameter(_NAME, "a cursor of the same filters, sort and order")
    return Position(key, run_id)


def refused() -> ProblemError:
    """Return the 400 for a cursor that this API has not made."""
    return invalid_parameter(_NAME, _EXPECTED)


def _parts(cursor: str) -> tuple[str, str | None, str]:
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        made_by, key, run_id = json.loads(decoded)
    except (ValueError, TypeError, RecursionError):
        raise refused() from None
    if not (isinstance(made_by, str) and _is_text(run_id) and (key is None or _is_text(key))):
        raise refused()
    return made_by, key, run_id


def _is_text(value: object) -> bool:
    """Say whether PostgreSQL can hold `value` as text: it has neither NUL nor half a surrogate pair."""
    if not isinstance(value, str) or "\x00" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)
