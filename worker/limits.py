"""What the statements of a refresh may take, until their transaction ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from snapshots.settings import Settings

_LIMITS: Final = text("select set_config('statement_timeout', :timeout, true), set_config('work_mem', :work_mem, true)")


def set_limits(conn: Connection, settings: Settings) -> None:
    """Bound the time and the memory of each statement of this transaction."""
    conn.execute(
        _LIMITS, {"timeout": f"{settings.refresh_timeout_s}s", "work_mem": f"{settings.refresh_work_mem_mb}MB"}
    )
