"""Rescue of manual refresh requests whose Celery message was lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from worker.engine import ledger
from worker.engine.errors import LockTimeoutError
from worker.engine.refresh import PutBackError, refresh_requested

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from snapshots.settings import Settings

#: A request that is still waiting after so long has lost its message, or nobody serves its queue; seconds.
OVERDUE_S: Final = 120
#: Requests that one look tries; those behind them come next time.
_AT_MOST: Final = 100

_log = logging.getLogger(__name__)


def take_up(engine: Engine, settings: Settings) -> bool:
    """Run the oldest overdue request that meets no lock, and tell whether there was one.

    A request that meets one keeps its place, and those of its signal behind it are left for another time. Two processes
    that look at once do not do one twice. Raises what the request raises, once the ledger says so.
    """
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        lost = ledger.close_lost(books)
        if lost:
            _log.warning("rescue: the workers of %d refreshes were lost", lost)
        waiting = ledger.overdue(books, older_than_s=OVERDUE_S, at_most=_AT_MOST)
    blocked: set[str] = set()
    for refresh_id, signal in waiting:
        if signal in blocked:
            continue
        try:
            result = refresh_requested(engine, refresh_id, settings, wait_s=0)
        except PutBackError as ex:
            blocked |= {signal} if isinstance(ex.__cause__, LockTimeoutError) else set()
            continue
        if result is not None:
            _log.warning("refresh id=%s: its message was lost, and it is done now", refresh_id)
            return True
    return False
