"""What one worker process holds: its settings and its database engine, opened at the first task, after the fork."""

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
    """Return this process's engine; a task uses two connections, one of them for the ledger.

    Without a limit: SQLAlchemy loses count of a connection whose server went away while its isolation level was to be
    set back, and with one, two of them would leave this process waiting for ever.
    """
    url = database.url_of(process_settings(), "worker")
    # Before the task's soft limit, which a process that waits for the driver does not notice.
    deadline_s = process_settings().refresh_timeout_s + database.GRACE_S
    return database.connect(url, name="activity worker", read_deadline_s=deadline_s, pool_size=2, max_overflow=-1)
