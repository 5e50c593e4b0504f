"""The query string: what may be named, how often, and what it must look like.

Source: docs/specification-notes.md#rejected-parameters.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from api.http.problems import ProblemError, invalid_parameter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_VALUE_CHARS: Final = 256

_INSTANT: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,6})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_INTEGER: Final = re.compile(r"\d{1,9}", re.ASCII)
_RFC_3339: Final = (
    "an RFC 3339 timestamp with a zone and at most six fraction digits, like 2026-01-17T12:00:00Z (a + is sent as %2B)"
)


class Query:
    """The parameters of one request. Every method raises ProblemError (400) that names the parameter at fault."""

    def __init__(self, params: Mapping[str, str | list[str]], allowed: Collection[str]) -> None:
        """Take the decoded parameters; refuse `tenant_id`, whose place is the key, and names not in `allowed`."""
        if "tenant_id" in params:
            raise ProblemError(400, "tenant_id_rejected", "tenant_id: the API key names the tenant; leave it out")
        for name in params:
            if name not in allowed:
                raise _unknown(name, sorted(allowed))
        self._params = params

    def raw(self, name: str, max_chars: int = MAX_VALUE_CHARS) -> str | None:
        """Return the value given for `name`, which may be empty, or None."""
        values = self._values(name, max_chars)
        if len(values) > 1:
            raise invalid_parameter(name, "one value, not several")
        return values[0] if values else None

    def text(self, name: str, max_chars: int = MAX_VALUE_CHARS) -> str | None:
        """Return the value given for `name`, or None."""
        value = self.raw(name, max_chars)
        if value == "":
            raise invalid_parameter(name, "a value that is not empty")
        return value

    def texts(self, name: str, known: Collection[str] = ()) -> tuple[str, ...]:
        """Return the values given for `name`, each once, in order; each must be `known` when some are."""
        values = tuple(dict.fromkeys(self._values(name, MAX_VALUE_CHARS)))
        if "" in values:
            raise invalid_parameter(name, "values that are not empty")
        if known and not set(values) <= set(known):
            raise invalid_parameter(name, f"one of {', '.join(known)}")
        return values

    def choice(self, name: str, known: Collection[str]) -> str | None:
        """Return the value given for `name`, one of `known`, or None."""
        value = self.raw(name)
        if value is not None and value not in known:
            raise invalid_parameter(name, f"one of {', '.join(known)}")
        return value

    def flag(self, name: str) -> bool | None:
        """Return the boolean given for `name`, or None."""
        value = self.choice(name, ("true", "false"))
        return None if value is None else value == "true"

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return the whole number given for `name`, from `low` to `high`, or `default`."""
        value = self.raw(name)
        if value is None:
            return default
        if not _INTEGER.fullmatch(value) or not low <= int(value) <= high:
            raise invalid_parameter(name, f"a whole number from {low} to {high}")
        return int(value)

    def instant(self, name: str) -> datetime | None:
        """Return the instant given for `name`, in UTC, or None."""
        value = self.raw(name)
        if value is None:
            return None
        found = instant_of(value)
        if found is None:
            raise invalid_parameter(name, _RFC_3339)
        return found

    def _values(self, name: str, max_chars: int) -> list[str]:
        given = self._params.get(name, [])
        values = [given] if isinstance(given, str) else given
        if any(len(value) > max_chars for value in values):
            raise invalid_parameter(name, f"at most {max_chars} characters")
        if any("\x00" in value for value in values):
            raise invalid_parameter(name, "text without NUL characters")
        return values


def instant_of(value: str) -> datetime | None:
    """Return the instant that `value` spells in RFC 3339, in UTC; None when it spells none."""
    if not _INSTANT.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def past(query: Query, name: str, now: datetime) -> datetime | None:
    """Return the instant given for `name`, or None. Raises ProblemError (400) for one that is still to come."""
    given = query.instant(name)
    if given is not None and given > now:
        raise invalid_parameter(name, "an instant that is not in the future")
    return given


def _unknown(name: str, allowed: list[str]) -> ProblemError:
    known = ", ".join(allowed) or "none"
    shown = name[:MAX_VALUE_CHARS]
    detail = f"{shown}: not a parameter of this endpoint; allowed: {known}"
    return ProblemError(400, "unknown_parameter", detail, parameter=shown, allowed=allowed)
