"""Retention: history goes by whole partitions, the ledger by rows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, select, text

from snapshots import visibility
from snapshots.body import in_utc
from snapshots.movement import item_state, signal_change
from snapshots.signals import WORKER_ROLE
from snapshots.triage import triage, triage_event
from snapshots.webhooks import dead_letter
from worker.engine import ledger

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Select

    from snapshots.settings import Settings

_log = logging.getLogger(__name__)

#: Partitions are made this many days ahead, so that a refresh hardly ever has to.
DAYS_AHEAD: Final = 3


@dataclass(frozen=True, slots=True)
class PruneResult:
    """Rows that one pruning removed."""

    partitions: int
    attempts: int
    abandoned: int
    changes: int


def prune(engine: Engine, settings: Settings) -> PruneResult:
    """Drop the history and the ledger rows that retention no longer keeps; make the partitions of the next days.

    Raises VisibilityError where rows could be hidden.
    """
    visibility.prove_engine(engine, WORKER_ROLE, sources=())
    partitions = _roll_partitions(engine, settings.history_days)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        abandoned = ledger.close_abandoned(books, older_than_s=2 * settings.refresh_timeout_s)
        attempts = ledger.delete_older_than(books, settings.ledger_days)
        changes = _forget_changes(books, settings.history_days)
        _forget_triage(books, settings)
    _log.info("prune partitions=%d attempts=%d abandoned=%d changes=%d", partitions, attempts, abandoned, changes)
    return PruneResult(partitions, attempts, abandoned, changes)


def _roll_partitions(engine: Engine, keep_days: int) -> int:
    with engine.connect() as conn:
        today: date = in_utc(conn.execute(select(func.clock_timestamp())).scalar_one()).date()
    for ahead in range(DAYS_AHEAD + 1):
        _alone(engine, select(func.signals.ensure_history_partition(today + timedelta(days=ahead))))
    return int(_alone(engine, select(func.signals.drop_history_before(today - timedelta(days=keep_days)))))


def _forget_changes(conn: Connection, keep_days: int) -> int:
    """Delete the changes that are older, and the items that left before; return how many changes."""
    since = func.clock_timestamp() - func.make_interval(0, 0, 0, keep_days)
    conn.execute(delete(item_state).where(item_state.c.left_at < since))
    return int(conn.execute(delete(signal_change).where(signal_change.c.recorded_at < since)).rowcount)


def _forget_triage(conn: Connection, settings: Settings) -> None:
    """Delete what was said so long ago, the states that say nothing any more, and dead letters."""
    now = func.clock_timestamp()
    conn.execute(
        delete(triage_event).where(triage_event.c.at < now - func.make_interval(0, 0, 0, settings.triage_days))
    )
    recently = now - func.make_interval(0, 0, 0, settings.history_days)
    is_over = (triage.c.state == "open") | (triage.c.until < recently)
    conn.execute(delete(triage).where(is_over, triage.c.at < recently))
    lasting = func.make_interval(0, 0, 0, settings.ledger_days)
    conn.execute(delete(dead_letter).where(dead_letter.c.died_at < now - lasting))


def _alone(engine: Engine, statement: Select[Any]) -> Any:  # noqa: ANN401  # whatever the function returns
    """Run a statement in a transaction of its own: the locks of two could deadlock with a refresh."""
    with engine.begin() as conn:
        conn.execute(text("select set_config('lock_timeout', '5s', true)"))
        return conn.execute(statement).scalar_one()
