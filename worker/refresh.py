"""The refresh engine: recompute one signal for a set of tenants, and publish what changed.

Celery rings; this module does the work and knows nothing of Celery (architecture.md "Refresh protocol").
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from worker import ledger, locks
from worker.publish import Publication, draw_fence, publish
from worker.registry import SIGNALS
from worker.stage import stage_signal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from snapshots.settings import Settings
    from worker.results import RefreshResult

_log = logging.getLogger(__name__)

#: The errors after which an attempt is worth repeating; the tasks retry on these and no others.
RETRYABLE: Final = (DBAPIError,)

#: What a refresh may take, until its transaction ends.
_LIMITS: Final = text("select set_config('statement_timeout', :timeout, true), set_config('work_mem', :work_mem, true)")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a refresh: the ledger row it reports to, and whether it waits for another one to end."""

    signal: str
    refresh_id: int
    tenants: Sequence[str] | None = None
    waits: bool = False
    will_retry: bool = False


def recompute(conn: Connection, attempt: Attempt, settings: Settings, *, as_of: datetime, fence: int) -> RefreshResult:
    """Compute a signal as of `as_of` and publish the difference, in the caller's transaction.

    The number of statements does not depend on the number of tenants.
    """
    signal = SIGNALS[attempt.signal]
    stage_signal(conn, signal, settings, as_of, attempt.tenants)
    return publish(conn, Publication(signal, as_of, fence, attempt.refresh_id, attempt.tenants), settings)


def run(engine: Engine, attempt: Attempt, settings: Settings) -> RefreshResult | None:
    """Run one attempt and write its story into the ledger; None when it was coalesced with another.

    Raises what the database raises; the last good snapshot stays as it was (R29).
    """
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as books:
        try:
            result = _locked(engine, books, attempt, settings)
        except Exception as ex:
            _note_failure(autocommit, attempt, ex)
            raise
        if result is not None:
            ledger.mark_succeeded(books, attempt.refresh_id, result)
    return result


def _note_failure(engine: Engine, attempt: Attempt, error: Exception) -> None:
    """Tell the ledger on a connection of its own, since the error may have ended the other ones."""
    will_retry = attempt.will_retry and isinstance(error, RETRYABLE)
    try:
        with engine.connect() as books:
            ledger.mark_failed(books, attempt.refresh_id, error, will_retry=will_retry)
    except DBAPIError:
        _log.warning(
            "refresh signal=%s id=%s: the ledger cannot be told of the failure", attempt.signal, attempt.refresh_id
        )


def _locked(engine: Engine, books: Connection, attempt: Attempt, settings: Settings) -> RefreshResult | None:
    with engine.begin() as conn:
        conn.execute(_LIMITS, _limits(settings))
        if not _take_lock(conn, attempt):
            ledger.mark_coalesced(books, attempt.refresh_id)
            return None
        as_of, fence = draw_fence(conn)
        if not ledger.mark_running(books, attempt.refresh_id, as_of=as_of, fence=fence):
            return None
        return recompute(conn, attempt, settings, as_of=as_of, fence=fence)


def _take_lock(conn: Connection, attempt: Attempt) -> bool:
    if attempt.waits:
        locks.take(conn, attempt.signal)
        return True
    return locks.try_take(conn, attempt.signal)


def _limits(settings: Settings) -> dict[str, str]:
    return {"timeout": f"{settings.refresh_timeout_s}s", "work_mem": f"{settings.refresh_work_mem_mb}MB"}


def refresh(
    engine: Engine, signal: str, settings: Settings, *, mode: ledger.Mode = "tick", requested_by: str = "schedule"
) -> RefreshResult | None:
    """Refresh `signal` for every tenant; a tick ends at once when a refresh is under way, a reconcile waits for it."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        refresh_id = ledger.request(books, signal, mode=mode, requested_by=requested_by)
    return _reported(run(engine, Attempt(signal, refresh_id, waits=mode != "tick"), settings), refresh_id, signal)


def refresh_requested(
    engine: Engine, refresh_id: int, settings: Settings, *, will_retry: bool = False
) -> RefreshResult | None:
    """Run the refresh that ledger row `refresh_id` asks for; None when another delivery has taken it already."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.claim(books, refresh_id)
    if asked is None:
        return None
    attempt = Attempt(asked.signal, refresh_id, tenants=asked.tenants, waits=True, will_retry=will_retry)
    return _reported(run(engine, attempt, settings), refresh_id, asked.signal)


def _reported(result: RefreshResult | None, refresh_id: int, signal: str) -> RefreshResult | None:
    """Log one event per refresh."""
    if result is None:
        _log.info("refresh signal=%s id=%s state=coalesced", signal, refresh_id)
    else:
        _log.info(
            "refresh signal=%s id=%s state=succeeded as_of=%s tenants=%d changed=%d rows=%d",
            signal,
            refresh_id,
            result.as_of.isoformat(),
            result.tenants_seen,
            result.tenants_changed,
            result.rows_changed,
        )
    return result
