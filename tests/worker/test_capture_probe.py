"""The sampled comparison: it notices changes that no trigger reported, and raises no false alarm."""

from __future__ import annotations

from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import func, make_url, select

from migrations import capture
from snapshots import settings
from snapshots.database import connect
from snapshots.tables import freshness, snapshot
from snapshots.tables import refresh as ledger
from tests.factories import insert_run, insert_step, insert_trace
from worker.engine import capture_trust, change_queue, probe
from worker.engine.context import RefreshContext
from worker.engine.refresh import refresh
from worker.engine.tables import capture_doubt, dirty_run, fact_state
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from tests.postgres import Server
    from worker.engine.context import RefreshResult

#: With the slower period as long as the others, a test need not wait.
SETTINGS: Final = settings.load(uncaptured_period_s=30, attention_rescore_s=30)
_TABLES: Final = "'runs', 'aos_traces', 'aos_trace_steps'"


@pytest.fixture
def captured(engine: Engine) -> Engine:
    """Return an engine on a captured database with history, whose signals are refreshed from change events."""
    capture.install(engine)
    with engine.begin() as conn:
        plant(conn, "acme", 3)
    for _ in range(2):
        tick(engine)
    return engine


@pytest.fixture
def superuser(captured: Engine, server: Server) -> Iterator[Engine]:
    """Yield an engine that may write to the catalogue."""
    engine = connect(make_url(server.cluster.superuser_url(str(captured.url.database))))
    yield engine
    engine.dispose()


def now(conn: Connection) -> datetime:
    found: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    return found


def plant(conn: Connection, tenant: str, runs: int, *, age: timedelta = timedelta(minutes=1)) -> None:
    """Insert runs that each signal has something to say of, each with a trace of five steps."""
    start = now(conn) - age
    for number in range(runs):
        name = f"{tenant}-{number}"
        insert_run(
            conn,
            id=name,
            tenant_id=tenant,
            agent_id=f"agent-{tenant}",
            state="LIVE",
            risk_level="VIOLATED",
            started_at=start,
            estimated_cost_usd=1,
        )
        insert_trace(conn, trace_id=name, run_id=name, tenant_id=tenant, started_at=start)
        for index in range(5):
            insert_step(conn, name, index, retry_count=2)


def tick(engine: Engine, current: settings.Settings = SETTINGS) -> dict[str, RefreshResult | None]:
    """Refresh every signal as beat has it done."""
    return {name: refresh(engine, name, current) for name in SIGNALS}


def published(engine: Engine, tenant: str) -> set[str]:
    with engine.connect() as conn:
        return set(conn.execute(select(snapshot.c.signal).where(snapshot.c.tenant_id == tenant)).scalars())


def doubted(engine: Engine) -> set[str]:
    with engine.connect() as conn:
        return {name for name, signal in SIGNALS.items() if capture_trust.read(conn, signal).is_doubted}


def write_past_the_triggers(superuser: Engine, write: Callable[[Connection], object]) -> None:
    """Write while the catalogue tells the executor that the tables have no triggers; no list knows of that."""
    switch = f"update pg_class set relhastriggers = %s where relname in ({_TABLES})"  # noqa: S608  # three names
    with superuser.begin() as conn:
        conn.exec_driver_sql(switch, (False,))
    with superuser.begin() as conn:
        write(conn)
    with superuser.begin() as conn:
        conn.exec_driver_sql(switch, (True,))


def expire_doubts(engine: Engine) -> None:
    """Have all doubts be old."""
    with engine.begin() as conn:
        conn.exec_driver_sql("update signals.capture_doubt set last_found_at = last_found_at - interval '1 day'")


@pytest.mark.parametrize("age", [timedelta(minutes=1), timedelta(seconds=0)])
def test_unreported_rows_are_published_by_the_next_tick(captured: Engine, superuser: Engine, age: timedelta) -> None:
    before = {name: fingerprint(captured, name) for name in SIGNALS}
    write_past_the_triggers(superuser, lambda conn: plant(conn, "silent", 60, age=age))
    assert {name: fingerprint(captured, name) for name in SIGNALS} == before

    results = tick(captured)

    assert published(captured, "silent") == doubted(captured) == set(SIGNALS)
    # The start of a run that is seconds old lies between two refreshes: the cost analysis reads it without an event.
    drifts = {name: result.drift for name, result in results.items() if result and (name != "cost" or age)}
    assert set(drifts.values()) == {1}
    with captured.connect() as conn:
        reasons = [words for signal in SIGNALS.values() for words in capture_trust.read(conn, signal).losses]
    assert all("that no trigger reported" in words for words in reasons)


def fingerprint(engine: Engine, name: str) -> str | None:
    with engine.connect() as conn:
        return change_queue.fingerprint(conn, SIGNALS[name])


def test_a_few_unreported_old_rows_are_found_within_the_window(captured: Engine, superuser: Engine) -> None:
    with captured.begin() as conn:
        for number in range(40):
            plant(conn, f"tenant-{number}", 3, age=timedelta(minutes=30 * number))
    tick(captured)
    write_past_the_triggers(superuser, lambda conn: plant(conn, "silent", 60, age=timedelta(hours=13)))

    for _ in range(12):
        tick(captured)

    assert published(captured, "silent") == set(SIGNALS)


@pytest.mark.parametrize("change", ["delete from runs where id = 'acme-1'", "delete from aos_traces"])
def test_an_unreported_delete_is_noticed(captured: Engine, superuser: Engine, change: str) -> None:
    write_past_the_triggers(superuser, lambda conn: conn.exec_driver_sql(change))
    tick(captured)

    assert doubted(captured) == ({"cost", "attention"} if "runs" in change else {"patterns"})


def test_while_in_doubt_every_refresh_compares_all_rows_at_the_slower_period(
    captured: Engine, superuser: Engine
) -> None:
    write_past_the_triggers(superuser, lambda conn: plant(conn, "silent", 5))
    tick(captured)
    write_past_the_triggers(superuser, lambda conn: plant(conn, "again", 5, age=timedelta(hours=20)))

    results = tick(captured)

    assert published(captured, "again") == set(SIGNALS)
    assert {result.drift for result in results.values() if result} == {1}
    assert set(tick(captured, settings.load(uncaptured_period_s=3600)).values()) == {None}
    with captured.connect() as conn:
        periods = set(conn.execute(select(freshness.c.period_s).where(freshness.c.signal == "attention")).scalars())
    assert periods == {SETTINGS.period_s("attention", is_captured=False)}


def test_a_doubt_ends_once_comparisons_that_saw_writes_agree(captured: Engine, superuser: Engine) -> None:
    write_past_the_triggers(superuser, lambda conn: plant(conn, "silent", 5))
    tick(captured)
    expire_doubts(captured)
    without_writes = tick(captured)
    still = doubted(captured)
    with captured.begin() as conn:
        plant(conn, "beta", 1)
    tick(captured)

    assert {result.drift for result in without_writes.values() if result} == {0}
    assert still == set(SIGNALS)
    assert doubted(captured) == set()
    with captured.connect() as conn:
        assert conn.execute(select(capture_doubt)).all() == []


def test_triggers_that_are_made_anew_end_a_doubt(captured: Engine, superuser: Engine) -> None:
    write_past_the_triggers(superuser, lambda conn: plant(conn, "silent", 5))
    tick(captured)
    capture.install(captured)
    tick(captured)

    assert doubted(captured) == set()
    with captured.connect() as conn:
        assert conn.execute(select(func.count()).select_from(fact_state)).scalar_one() > 0


def test_an_hourly_comparison_raises_no_doubt(captured: Engine) -> None:
    for name in SIGNALS:
        refresh(captured, name, SETTINGS, mode="reconcile")

    assert doubted(captured) == set()


# ---- what is no loss


def rolled_back(engine: Engine) -> None:
    with engine.connect() as conn:
        plant(conn, "gone", 20)
        conn.rollback()


def statistics_reset(engine: Engine) -> None:
    with engine.begin() as conn:
        plant(conn, "beta", 2)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        conn.exec_driver_sql("vacuum analyze runs")


def irrelevant_update(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.exec_driver_sql("update runs set goal = 'another'; update aos_traces set status = 'done'")


def updates_and_deletes(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.exec_driver_sql("update runs set estimated_cost_usd = 7, risk_level = 'NORMAL' where id = 'acme-0'")
        conn.exec_driver_sql("delete from runs where id = 'acme-1'; delete from aos_traces where trace_id = 'acme-1'")
        conn.exec_driver_sql("update runs set tenant_id = 'beta'; update aos_traces set tenant_id = 'beta'")


def truncated(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.exec_driver_sql("truncate runs, aos_traces, aos_trace_steps")
        plant(conn, "beta", 2)


def backdated_and_future(engine: Engine) -> None:
    with engine.begin() as conn:
        plant(conn, "old", 5, age=timedelta(days=30))
        plant(conn, "recent", 5, age=timedelta(hours=30))
        plant(conn, "coming", 5, age=timedelta(hours=-2))


def without_a_tenant(engine: Engine) -> None:
    with engine.begin() as conn:
        insert_run(conn, tenant_id=None, started_at=now(conn), estimated_cost_usd=1, risk_level="VIOLATED")
        insert_run(conn, tenant_id="", agent_id=None, started_at=now(conn), estimated_cost_usd=1)
        insert_run(conn, agent_id=None, started_at=now(conn), estimated_cost_usd="NaN")


_NO_LOSSES: Final = (
    rolled_back,
    statistics_reset,
    irrelevant_update,
    updates_and_deletes,
    truncated,
    backdated_and_future,
    without_a_tenant,
)


@pytest.mark.parametrize("happen", _NO_LOSSES, ids=lambda each: str(each.__name__))
def test_what_was_reported_is_no_loss(captured: Engine, happen: Callable[[Engine], None]) -> None:
    happen(captured)
    for _ in range(3):
        tick(captured)

    assert doubted(captured) == set()


def test_a_new_database_is_no_loss(engine: Engine) -> None:
    capture.install(engine)
    for _ in range(3):
        tick(engine)

    assert doubted(engine) == set()


def test_replica_mode_is_reported_and_no_loss(captured: Engine, superuser: Engine) -> None:
    with superuser.begin() as conn:
        conn.exec_driver_sql("set local session_replication_role = replica")
        plant(conn, "replica", 5)
    results = tick(captured)

    assert published(captured, "replica") == set(SIGNALS)
    assert {result.drift for result in results.values() if result} == {None}
    assert doubted(captured) == set()


def test_a_transaction_that_commits_after_a_tick_is_no_loss(captured: Engine) -> None:
    with captured.connect() as writer:
        plant(writer, "late", 5)
        tick(captured)
        assert published(captured, "late") == set()
        writer.commit()
    tick(captured)

    assert published(captured, "late") == set(SIGNALS)
    assert doubted(captured) == set()


def test_a_change_that_waits_in_the_queue_is_no_loss(captured: Engine) -> None:
    """A writer commits between a refresh and the comparison of its sample."""
    with captured.begin() as conn:
        plant(conn, "between", 5)
        as_of = now(conn)
    with captured.connect() as conn:
        assert conn.execute(select(func.count()).select_from(dirty_run)).scalar_one() == 5
        found = [probe.unreported(conn, RefreshContext(signal, SETTINGS, 1, as_of, 1)) for signal in SIGNALS.values()]

    assert found == [0, 0, 0]


def test_writers_at_work_during_ticks_are_no_loss(captured: Engine) -> None:
    stop, failures = Event(), list[BaseException]()

    def write(name: str) -> None:
        try:
            for number in range(10_000):
                with captured.begin() as conn:
                    plant(conn, f"{name}-{number}", 3, age=timedelta(seconds=number % 7))
                    conn.exec_driver_sql("update runs set last_seen_at = now() where id = 'acme-0'")
                if stop.is_set():
                    return
        except BaseException as ex:  # noqa: BLE001  # told to the test
            failures.append(ex)

    writers = [Thread(target=write, args=(name,)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    for _ in range(8):
        tick(captured)
    stop.set()
    for writer in writers:
        writer.join()
    tick(captured)

    assert failures == []
    assert doubted(captured) == set()
    with captured.connect() as conn:
        assert conn.execute(select(func.count()).where(ledger.c.drift > 0)).scalar_one() == 0
