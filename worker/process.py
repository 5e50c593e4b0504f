"""State of one worker process: settings and database engine, opened at the first task, after the fork."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from snapshots import database, settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from snapshots.settings import Settings


@cache
def process_settings() -> Settings:
    """Return this process's settings."""
    return settings.load()


@cache
def process_engine() -> Engine:
    """Return this process's engine; a task uses three connections: its work, its locks and the ledger.

    None waits long for a lock: whatever holds it must not hold this process too.

    Without a limit: SQLAlchemy loses count of a connection whose server went away while its isolation level was to be
    set back, and with one, two of them would leave this process waiting for ever.
    """
    settings = process_settings()
    return database.connect(
        database.url_of(settings, "worker"),
        name="activity worker",
        lock_timeout_s=settings.refresh_lock_timeout_s,
        # Before the task's soft limit, which a process that waits for the driver does not notice.
        read_deadline_s=settings.refresh_timeout_s + database.GRACE_S,
        pool_size=3,
        max_overflow=-1,
    )
