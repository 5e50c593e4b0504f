"""Limits of a refresh's statements: time, lock waits and memory, until their transaction ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from snapshots.settings import Settings

_LIMITS: Final = text(
    "select set_config('statement_timeout', :timeout, true), set_config('lock_timeout', :lock_timeout, true),"
    " set_config('work_mem', :work_mem, true)"
)


def set_limits(conn: Connection, settings: Settings) -> None:
    """Bound the time, the lock waits and the memory of each statement of this transaction."""
    limits = {
        "timeout": f"{settings.refresh_timeout_s}s",
        "lock_timeout": f"{settings.refresh_lock_timeout_s}s",
        "work_mem": f"{settings.refresh_work_mem_mb}MB",
    }
    conn.execute(_LIMITS, limits)
