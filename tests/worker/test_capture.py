"""Change capture on a host's tables: written by the host's own roles, and trusted only while nothing passes it by."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, make_url, select, text
from sqlalchemy.exc import ProgrammingError

from migrations import capture, runner
from snapshots import settings
from snapshots.database import connect
from snapshots.errors import ActivityError
from snapshots.tables import freshness
from snapshots.tables import refresh as ledger_table
from tests.factories import insert_run, insert_step, insert_trace
from worker.engine import change_queue
from worker.engine.refresh import refresh
from worker.engine.shards import WHOLE
from worker.engine.stage import prepare
from worker.engine.tables import dirty_agent, dirty_run, dirty_trace
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine, Table

    from tests.postgres import Server

SETTINGS = settings.load()
_BYPASSES = {
    "truncate": "truncate runs",
    "disabled for a while": "alter table runs disable trigger signals_runs_insert;"
    " alter table runs enable always trigger signals_runs_insert",
    "made anew": "alter table runs rename to runs_before; create table runs (like runs_before including all)",
    "rewritten": "alter table runs alter column estimated_cost_usd type numeric(12, 2)",
    "function replaced": "create or replace function signals.mark_runs() returns trigger language plpgsql as"
    " $$ begin return null; end $$",
}
_LOSSES = {
    "disabled": "alter table runs disable trigger signals_runs_insert",
    "not in replica mode": "alter table runs enable trigger signals_runs_insert",
    "dropped": "drop trigger signals_runs_update on runs",
    "inherited": "create table runs_part () inherits (runs)",
}


@pytest.fixture
def captured(engine: Engine) -> Engine:
    """Return an engine on a database whose changes are captured."""
    capture.install(engine)
    return engine


@pytest.fixture
def writer(captured: Engine, server: Server) -> Iterator[Engine]:
    """Yield an engine as a host's application: it may write its tables and knows nothing of our schema."""
    with captured.begin() as conn:
        conn.exec_driver_sql("do $$ begin create role host_application nologin; exception when others then end $$")
        conn.exec_driver_sql("grant all on all tables in schema public to host_application")
    url = server.url_as("host_application", captured.url.render_as_string(hide_password=False))
    engine = connect(make_url(url))
    yield engine
    engine.dispose()


def rows(engine: Engine, table: Table) -> list[Any]:
    with engine.connect() as conn:
        return sorted((tuple(row) for row in conn.execute(select(table))), key=str)


def fingerprint(engine: Engine, signal: str = "cost") -> str | None:
    with engine.connect() as conn:
        return change_queue.fingerprint(conn, SIGNALS[signal])


def plant(conn: Connection) -> None:
    insert_run(conn, id="run-1", tenant_id="acme", agent_id="a", estimated_cost_usd=1)
    insert_trace(conn, trace_id="trace-1", run_id="run-1", tenant_id="acme")
    insert_step(conn, "trace-1", 0)


def test_a_host_s_own_writer_leaves_marks_without_rights_on_our_schema(writer: Engine, captured: Engine) -> None:
    with writer.begin() as conn:
        plant(conn)

    assert rows(captured, dirty_run) == [("run-1", "acme")]
    assert rows(captured, dirty_agent) == [("acme", "a")]
    assert rows(captured, dirty_trace) == [("trace-1", None), ("trace-1", None)]
    with writer.connect() as conn, pytest.raises(ProgrammingError, match="permission denied"):
        conn.execute(select(dirty_run))


def test_a_write_that_is_rolled_back_leaves_no_mark(writer: Engine, captured: Engine) -> None:
    with writer.connect() as conn:
        plant(conn)
        conn.rollback()

    assert [rows(captured, table) for table in (dirty_run, dirty_agent, dirty_trace)] == [[], [], []]


def test_writers_do_not_wait_for_each_other_or_for_a_refresh(writer: Engine, captured: Engine) -> None:
    with writer.connect() as first, writer.connect() as second, captured.connect() as worker:
        prepare(worker)
        for number, conn in enumerate((first, second)):
            conn.exec_driver_sql("set lock_timeout = '1s'")
            insert_run(conn, id=f"run-{number}")
        change_queue.take(worker, SIGNALS["attention"], WHOLE)
        second.commit()
        first.commit()
        worker.rollback()

    assert len(rows(captured, dirty_run)) == 2


def test_a_session_in_replica_mode_is_seen(captured: Engine, server: Server) -> None:
    superuser = connect(server.cluster.superuser_url(str(captured.url.database)))
    with superuser.begin() as conn:
        conn.exec_driver_sql("set session_replication_role = replica")
        insert_run(conn, id="run-1")
    superuser.dispose()

    assert rows(captured, dirty_run) == [("run-1", "acme")]


@pytest.mark.parametrize(
    ("change", "agents"),
    [
        ("agent_id = 'b'", [("acme", "a"), ("acme", "b")]),
        ("tenant_id = 'beta'", [("acme", "a"), ("beta", "a")]),
        ("estimated_cost_usd = null", [("acme", "a")]),
        ("tenant_id = null", [("acme", "a")]),
        ("id = 'run-2'", [("acme", "a")]),
        ("last_seen_at = now()", []),
        ("goal = 'another'", []),
    ],
)
def test_an_update_marks_what_its_columns_matter_to(captured: Engine, change: str, agents: list[Any]) -> None:
    with captured.begin() as conn:
        insert_run(conn, id="run-1", tenant_id="acme", agent_id="a", estimated_cost_usd=1)
        conn.execute(text("delete from signals.dirty_agent"))
        conn.execute(text(f"update runs set {change}"))  # noqa: S608  # a parameter of this test

    assert rows(captured, dirty_agent) == agents


def test_touching_a_trace_leaves_no_mark_and_moving_it_marks_both_tenants(captured: Engine) -> None:
    with captured.begin() as conn:
        plant(conn)
        conn.execute(text("delete from signals.dirty_trace"))
        conn.execute(text("update aos_traces set status = 'done', completed_at = now()"))
        assert conn.execute(select(dirty_trace)).all() == []
        conn.execute(text("update aos_traces set tenant_id = 'beta'"))

    assert [tenant for _, tenant in rows(captured, dirty_trace) if tenant] == ["acme"]
    with captured.connect() as conn:
        assert conn.execute(select(dirty_trace).where(dirty_trace.c.tenant_id.is_(None))).all() == [("trace-1", None)]


@pytest.mark.parametrize("how", _BYPASSES)
def test_what_passes_the_triggers_by_changes_the_fingerprint(captured: Engine, how: str) -> None:
    before = fingerprint(captured)
    with captured.begin() as conn:
        conn.exec_driver_sql("drop view if exists v_runs_o2 cascade; drop view signals.source_run cascade")
        conn.exec_driver_sql(_BYPASSES[how])

    assert before is not None
    assert fingerprint(captured) != before


@pytest.mark.parametrize("how", _LOSSES)
def test_without_every_trigger_nothing_is_captured(captured: Engine, how: str) -> None:
    with captured.begin() as conn:
        conn.exec_driver_sql(_LOSSES[how])

    assert fingerprint(captured) is None
    assert fingerprint(captured, "patterns") is not None


def test_vacuum_and_analyze_do_not_change_the_fingerprint(captured: Engine) -> None:
    before = fingerprint(captured)
    with captured.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        conn.exec_driver_sql("vacuum analyze runs")
        conn.exec_driver_sql("create index concurrently extra on runs (goal)")

    assert fingerprint(captured) == before


def test_a_truncation_forces_a_full_recompute(captured: Engine) -> None:
    with captured.begin() as conn:
        insert_run(conn, id="run-1", estimated_cost_usd=1)
    methods = [result.method for result in (refresh(captured, "cost", SETTINGS) for _ in range(2)) if result]
    with captured.begin() as conn:
        conn.exec_driver_sql("truncate runs")
    last = refresh(captured, "cost", SETTINGS)

    assert last is not None
    assert [*methods, last.method] == ["full", "incremental", "full"]


def test_without_triggers_a_tick_reads_every_row_at_the_slower_period(engine: Engine) -> None:
    first = refresh(engine, "cost", SETTINGS)
    slow = settings.load(cost_period_s=10, uncaptured_period_s=3600)
    second = refresh(engine, "cost", slow)

    assert first is not None
    assert first.method == "full"
    assert second is None
    with engine.connect() as conn:
        assert conn.execute(select(ledger_table.c.state)).scalars().all() == ["succeeded"]
        assert set(conn.execute(select(freshness.c.period_s)).scalars()) == {SETTINGS.cost_period_s}


def test_installing_twice_and_removing_leave_what_they_say(captured: Engine) -> None:
    assert capture.is_installed(captured)
    capture.install(captured)
    assert capture.is_installed(captured)
    capture.remove(captured)
    capture.remove(captured)

    assert not capture.is_installed(captured)
    with captured.connect() as conn:
        assert conn.execute(text("select count(*) from pg_trigger where tgname like 'signals%'")).scalar_one() == 0


def test_a_function_of_another_version_is_not_installed(captured: Engine) -> None:
    with captured.begin() as conn:
        conn.exec_driver_sql(_BYPASSES["function replaced"])

    assert not capture.is_installed(captured)


def test_a_table_whose_writers_do_not_let_go_is_named_and_nothing_waits(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "LOCK_TIMEOUT", "50ms")
    with engine.connect() as conn:
        insert_run(conn, id="run-1")
        with pytest.raises(ActivityError, match=r"public\.runs: its writers did not let go"):
            capture.install(engine)
        conn.rollback()


def test_a_partitioned_table_is_refused(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.exec_driver_sql("create table runs_part () inherits (runs)")

    with pytest.raises(ActivityError, match=r"public\.runs: is partitioned or inherited from"):
        capture.install(engine)
    with engine.connect() as conn:
        assert conn.execute(text("select count(*) from pg_trigger where tgname like 'signals%'")).scalar_one() == 0


def test_triggers_made_while_a_writer_is_at_work_miss_nothing(engine: Engine) -> None:
    """Creating a trigger waits for the writers of its table, so that a full recompute afterwards sees their rows."""
    with engine.connect() as conn:
        insert_run(conn, id="run-1", estimated_cost_usd=1, started_at=conn.execute(select(func.now())).scalar_one())
        installer = Thread(target=capture.install, args=(engine,))
        installer.start()
        waiting = text("select 1 from pg_locks where not granted")
        while conn.execute(waiting).first() is None:
            assert installer.is_alive()
        conn.commit()
        installer.join()
    result = refresh(engine, "cost", SETTINGS)

    assert result is not None
    assert (result.method, result.tenants_changed) == ("full", 1)


def test_a_downgrade_takes_the_triggers_along_and_the_host_writes_on(captured: Engine) -> None:
    runner.downgrade(captured.url, "097_activity_source_views")

    with captured.begin() as conn:
        plant(conn)
        assert conn.execute(text("select count(*) from pg_trigger where tgname like 'signals%'")).scalar_one() == 0
