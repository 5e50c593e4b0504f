"""History goes by whole partitions, the ledger by rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, text, update

from snapshots import settings
from snapshots.tables import refresh, snapshot_history
from worker.engine import ledger
from worker.engine.context import RefreshRequest
from worker.engine.errors import LocksHeldError
from worker.housekeeping.retention import DAYS_AHEAD, prune

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SETTINGS = settings.load()


def keep(conn: Connection, days_ago: int) -> None:
    """Insert a version that was replaced `days_ago` days ago, in a partition of its own."""
    replaced_at = datetime.now(UTC) - timedelta(days=days_ago)
    conn.execute(text("select signals.ensure_history_partition(:day)"), {"day": replaced_at.date()})
    row = {"tenant_id": "acme", "signal": "cost", "version": days_ago + 1, "content": "{}", "rule_version": "1"}
    row |= {"as_of": replaced_at, "computed_at": replaced_at, "replaced_at": replaced_at}
    conn.execute(insert(snapshot_history).values(row))


def partitions(conn: Connection) -> set[str]:
    inherited = (
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'signals.snapshot_history'::regclass"
    )
    return set(conn.execute(text(inherited)).scalars())


def partition_of(days_from_now: int) -> str:
    return f"signals.snapshot_history_{datetime.now(UTC) + timedelta(days=days_from_now):%Y%m%d}"


def test_history_beyond_retention_goes_with_its_partition(engine: Engine) -> None:
    with engine.begin() as conn:
        keep(conn, SETTINGS.history_days + 1)
        keep(conn, SETTINGS.history_days - 1)

    result = prune(engine, SETTINGS)

    assert result.partitions == 1
    with engine.connect() as conn:
        assert conn.execute(select(snapshot_history.c.version)).scalars().all() == [SETTINGS.history_days]
        assert partition_of(-SETTINGS.history_days - 1) not in partitions(conn)


def test_the_partitions_of_the_next_days_are_there_before_they_are_needed(engine: Engine) -> None:
    prune(engine, SETTINGS)

    with engine.connect() as conn:
        assert {partition_of(day) for day in range(DAYS_AHEAD + 1)} <= partitions(conn)


def test_a_second_pruning_finds_nothing_to_do(engine: Engine) -> None:
    with engine.begin() as conn:
        keep(conn, SETTINGS.history_days + 1)
    prune(engine, SETTINGS)

    result = prune(engine, SETTINGS)

    assert (result.partitions, result.attempts, result.abandoned) == (0, 0, 0)


def test_old_attempts_leave_the_ledger_and_those_under_way_stay(engine: Engine) -> None:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        over = ledger.request(books, RefreshRequest("cost", mode="tick", requested_by="schedule"))
        ledger.mark_coalesced(books, over, LocksHeldError("planted"))
        ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="someone whom nobody served"))
        under_way = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="someone"))
        ledger.mark_running(books, under_way, as_of=datetime.now(UTC), fence=1)
        old = datetime.now(UTC) - timedelta(days=SETTINGS.ledger_days + 1)
        books.execute(update(refresh).values(requested_at=old))

    result = prune(engine, SETTINGS)

    assert result.attempts == 2
    with engine.connect() as conn:
        assert conn.execute(select(refresh.c.refresh_id)).scalars().all() == [under_way]


def test_what_the_schedule_asked_for_and_nobody_began_is_closed(engine: Engine) -> None:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        lost = [
            ledger.request(books, RefreshRequest("cost", mode="tick", requested_by="schedule")),
            ledger.request(books, RefreshRequest("cost", mode="reconcile", requested_by="schedule")),
        ]
        waiting = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="someone"))
        old = datetime.now(UTC) - timedelta(seconds=2 * SETTINGS.refresh_timeout_s + 1)
        books.execute(update(refresh).values(requested_at=old))
        young = ledger.request(books, RefreshRequest("cost", mode="reconcile", requested_by="schedule"))

    result = prune(engine, SETTINGS)

    assert result.abandoned == 2
    with engine.connect() as conn:
        states = {row.refresh_id: row.state for row in conn.execute(select(refresh))}
    assert states == {**dict.fromkeys(lost, "failed"), waiting: "requested", young: "requested"}
