"""Error texts for ledger and log: enough to act on, without values of rows."""

from __future__ import annotations

import traceback

from snapshots.errors import NOT_THERE, ActivityError, SchemaMismatchError, first_line, sqlstate


class TenantDataError(ActivityError):
    """The data of tenants that a refresh was asked for breaks it; the message names them."""


class LockTimeoutError(ActivityError):
    """A statement of a refresh waited for a lock as long as it may; the message names what holds the lock."""


class LocksHeldError(ActivityError):
    """Another session holds the advisory locks of a refresh; the message names it."""


class ReplacedRulesError(ActivityError):
    """Workers with other rules, of another version or with other settings, refresh these slots."""


def translated(error: Exception) -> Exception:
    """Return a SchemaMismatchError for what a schema lacks that is detached or of another version, else the error."""
    if sqlstate(error) not in NOT_THERE:
        return error
    return SchemaMismatchError(f"{first_line(error)}; is the schema detached, or of another version?")


def release(error: BaseException, *, is_handled: bool = False) -> None:
    """Let go of what the frames hold in which `error` and its causes arose; the lines of the traceback stay.

    Of one that `is_handled` the traceback goes too: its frames hold their callers, one of which may hold the error.

    An error that a frame of its own traceback names in a variable, as SQLAlchemy's do, lives with every result and
    statement of those frames until a full collection, which is rare in a process as large as a worker.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        if is_handled:
            one.__traceback__ = None
        one = one.__cause__ or one.__context__
