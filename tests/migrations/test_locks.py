"""A migration beside running writers: nobody waits long for it, and it waits for everybody."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from migrations import runner
from migrations.objects import LOCK_TIMEOUT
from migrations.roles import ensure_roles
from ops.commands.worker import worker
from snapshots import settings
from snapshots.errors import SchemaMismatchError
from snapshots.signals import SIGNALS
from snapshots.tables import snapshot
from tests.factories import insert_run, insert_step, insert_trace
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sqlalchemy import Connection, Engine

SETTINGS = settings.load()
LIMIT_S: Final = float(LOCK_TIMEOUT.removesuffix("s"))
ROW_LOCKS: Final = (
    "update runs set status = 'failed' where id = 'run-held'",
    "select * from aos_traces where trace_id = 'trace-held' for update",
    "select * from aos_trace_steps where trace_id = 'trace-held' for update",
)


def write(conn: Connection, number: int) -> None:
    """Write a row of each table, as a host does, and commit."""
    run = insert_run(conn, id=f"run-{number}")
    trace = insert_trace(conn, trace_id=f"trace-{number}", run_id=run)
    insert_step(conn, trace, 0)
    conn.execute(text("update runs set status = 'failed' where id = :run"), {"run": run})
    conn.commit()


def longest_wait(conn: Connection, first: int, *, until: Callable[[], bool], at_least: int = 20) -> float:
    """Write again and again until told to stop, and return the seconds that the slowest write took."""
    slowest, number = 0.0, first
    while number < first + at_least or not until():
        start = time.monotonic()
        write(conn, number)
        slowest, number = max(slowest, time.monotonic() - start), number + 1
    return slowest


def wait_until_it_waits(engine: Engine, migration: Future[None]) -> None:
    waiting = text(
        "select 1 from pg_stat_activity where application_name = 'activity migrate' and wait_event_type = 'Lock'"
        " and datname = current_database()"
    )
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        while conn.execute(waiting).first() is None:
            assert not migration.done()


def test_writers_go_on_and_the_migration_finishes_after_the_long_transactions(
    host_database: str, owner: Callable[[str], Engine]
) -> None:
    engine = owner(host_database)
    ensure_roles(host_database)
    runner.upgrade(host_database, "094_limit_overrides")
    with engine.begin() as conn:
        insert_step(conn, insert_trace(conn, trace_id="trace-held", run_id=insert_run(conn, id="run-held")), 0)

    with ThreadPoolExecutor(1) as pool, ExitStack() as stack, engine.connect() as writer:
        holders = [stack.enter_context(engine.connect()) for _ in ROW_LOCKS]
        for holder, statement in zip(holders, ROW_LOCKS, strict=True):
            holder.execute(text(statement))
        writer.execute(text(f"set lock_timeout = '{LOCK_TIMEOUT}'"))
        writer.commit()
        migration = pool.submit(runner.upgrade, host_database)
        wait_until_it_waits(engine, migration)
        during = longest_wait(writer, 0, until=lambda: True)
        was_done = migration.done()
        for holder in holders:
            holder.commit()
        after = longest_wait(writer, 1000, until=migration.done)
        migration.result()

    assert not was_done
    assert max(during, after) < LIMIT_S
    runner.check(host_database)


def test_a_worker_does_not_start_on_an_older_schema_and_names_both(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.downgrade(fresh_database, "098_incremental_refresh")
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    monkeypatch.setenv("ACTIVITY_BROKER_URL", "redis://127.0.0.1:1/0")

    result = CliRunner().invoke(worker, [])

    assert isinstance(result.exception, SchemaMismatchError)
    assert "098_incremental_refresh found" in str(result.exception)
    assert f"{runner.head()} expected; run `activity migrate`" in str(result.exception)


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_refresh_on_an_older_schema_names_what_it_misses_and_publishes_nothing(
    fresh_database: str, owner: Callable[[str], Engine], signal: str
) -> None:
    engine = owner(fresh_database)
    with engine.begin() as conn:
        insert_run(conn, state="LIVE", risk_level="AT_RISK", estimated_cost_usd=1)
    refresh(engine, signal, SETTINGS)
    with engine.connect() as conn:
        before = conn.execute(select(snapshot)).all()
    runner.downgrade(fresh_database, "098_incremental_refresh")

    with pytest.raises(SchemaMismatchError, match=r"does not exist; is the schema detached, or of another version"):
        refresh(engine, signal, SETTINGS, mode="manual")

    with engine.connect() as conn:
        assert conn.execute(select(snapshot)).all() == before
        ended = conn.execute(text("select state from signals.refresh order by refresh_id desc limit 1")).scalar_one()
    assert ended == "failed"
    runner.upgrade(fresh_database)
    assert refresh(engine, signal, SETTINGS, mode="manual") is not None
