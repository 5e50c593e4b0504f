"""Errors that cross a part's border; factored out so that no part imports another to name one."""

from __future__ import annotations

from typing import Final

#: SQLSTATE of a schema, a table, a column or a function that is not there: detached, or of another revision.
NOT_THERE: Final = frozenset({"3F000", "42P01", "42703", "42883"})
#: Characters of an error's message that are stored or shown.
ERROR_LENGTH: Final = 500


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of the database's; None of any other, and of a connection that was lost."""
    return getattr(getattr(error, "orig", None), "pgcode", None)


def first_line(error: BaseException) -> str:
    """Return the first line of a driver's message, without the statement and parameters that SQLAlchemy adds."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [""])[0][:ERROR_LENGTH]


class ActivityError(Exception):
    """Something failed that a person can act on; the message says how."""


class ArgumentError(ActivityError):
    """A command was called with a value that can never be one; the message names it and what was expected."""


class SettingsError(ActivityError):
    """A setting is missing or malformed; the message names the variable and what was expected."""


class DatabaseUnavailableError(ActivityError):
    """The database does not answer, or refuses the credentials."""


class BrokerUnavailableError(ActivityError):
    """The message broker does not answer, or refuses the credentials."""


class SchemaMismatchError(ActivityError):
    """The database is not at the revision that this version needs."""


class UnknownSignalError(ActivityError):
    """A signal was named that does not exist."""


class QueryDeclarationError(ActivityError):
    """A `.sql` file does not declare what it uses, or uses what it does not declare."""


class VisibilityError(ActivityError):
    """Rows may exist that this session cannot see, so that "nothing found" would prove nothing."""


class SignalDeclarationError(ActivityError):
    """A signal's `signal.toml` is malformed, or collides with another signal's."""
