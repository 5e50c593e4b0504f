"""Locks of a refresh: what holds one is named, what waits for one gives way, and none outlives its connection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from snapshots.database import connect
from snapshots.errors import ActivityError
from snapshots.signals import LOCK_CLASS, SLOTS, WORKER_ROLE
from snapshots.tables import freshness, refresh, snapshot
from tests.ops.processes import until
from tests.worker.test_refresh import SETTINGS, now, plant
from worker.engine import ledger, locks
from worker.engine import refresh as engine_module
from worker.engine.context import Mode, RefreshRequest
from worker.engine.errors import LockTimeoutError
from worker.engine.exclusive import no_refresh
from worker.housekeeping.rescue import take_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from tests.postgres import Server

HASTY: Final = SETTINGS.model_copy(update={"refresh_lock_timeout_s": 1})
_OF_LOCKS: Final = text(
    "select pid, backend_xmin, backend_xid from pg_stat_activity where datname = current_database() and pid in"
    " (select pid from pg_locks where locktype = 'advisory' and granted and classid = :ours)"
)


@contextmanager
def host_lock(engine: Engine, table: str) -> Iterator[int]:
    """Lock a table against everybody, as a host's migration does; yield the process id of its session."""
    host = connect(engine.url, name="host migration")
    with host.begin() as conn:
        conn.execute(text(f"lock table {table} in access exclusive mode"))
        yield conn.execute(select(func.pg_backend_pid())).scalar_one()
    host.dispose()


def lock_sessions(conn: Connection) -> list[tuple[int, object, object]]:
    return [tuple(row) for row in conn.execute(_OF_LOCKS, {"ours": LOCK_CLASS})]


def last(engine: Engine, signal: str) -> tuple[str, str, str]:
    with engine.connect() as conn:
        rows = select(refresh).where(refresh.c.signal == signal).order_by(refresh.c.refresh_id.desc())
        row = conn.execute(rows.limit(1)).one()
        return row.state, row.error_class, row.error or ""


def request(engine: Engine, signal: str) -> int:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        return ledger.request(books, RefreshRequest(signal, mode="manual", requested_by="an operator"))


def test_a_locked_table_ends_a_tick_and_its_error_names_the_holder(engine: Engine) -> None:
    with host_lock(engine, "public.aos_traces") as pid:
        with pytest.raises(LockTimeoutError):
            engine_module.refresh(engine, "patterns", HASTY)

        assert engine_module.refresh(engine, "attention", HASTY) is not None

    state, error_class, error = last(engine, "patterns")
    assert (state, error_class) == ("failed", "LockTimeoutError")
    assert f"aos_traces is locked by pid {pid} (user " in error
    assert "application host migration, idle in transaction, since 2" in error


def test_the_workers_role_names_what_it_may_see_of_another_roles_session(
    engine: Engine, server: Server, fresh_database: str
) -> None:
    """Its state and times are hidden from a role without pg_read_all_stats."""
    worker = connect(server.url_as(WORKER_ROLE, fresh_database))
    with host_lock(engine, "public.aos_traces") as pid, pytest.raises(LockTimeoutError) as caught:
        engine_module.refresh(worker, "patterns", HASTY)
    worker.dispose()

    seen = f"aos_traces is locked by pid {pid} (user {engine.url.username}, application host migration)"
    assert seen in str(caught.value)


def test_a_session_that_waits_before_us_is_named_with_the_one_it_waits_for(engine: Engine) -> None:
    with engine.connect() as reader, engine.connect() as writer, ThreadPoolExecutor(1) as pool:
        reader.execute(text("select count(*) from public.aos_traces"))
        pids = [conn.execute(select(func.pg_backend_pid())).scalar_one() for conn in (reader, writer)]
        waiting = pool.submit(writer.execute, text("lock table public.aos_traces in access exclusive mode"))
        with pytest.raises(LockTimeoutError) as caught:
            engine_module.refresh(engine, "patterns", HASTY)
        reader.rollback()
        waiting.result()

    assert all(f"pid {pid} (" in str(caught.value) for pid in pids)
    assert "waits itself" in str(caught.value)


def test_a_request_that_meets_a_table_lock_stays_and_is_done_later(engine: Engine) -> None:
    asked = request(engine, "patterns")

    with host_lock(engine, "public.aos_traces"), pytest.raises(engine_module.PutBackError) as caught:
        engine_module.refresh_requested(engine, asked, HASTY)

    assert (caught.value.refresh_id, caught.value.again_s) == (asked, engine_module.BLOCKED_AGAIN_S)
    assert last(engine, "patterns")[:2] == ("requested", "LockTimeoutError")
    assert engine_module.refresh_requested(engine, asked, HASTY) is not None
    assert last(engine, "patterns")[::2] == ("succeeded", "")


@pytest.mark.parametrize("mode", ["manual", "reconcile"])
def test_a_request_during_another_refresh_stays_and_is_done_later(engine: Engine, mode: Mode) -> None:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.request(books, RefreshRequest("cost", mode=mode, requested_by="a test"))

    with locks.held(engine, "cost", range(SLOTS)), pytest.raises(engine_module.PutBackError) as caught:
        engine_module.refresh_requested(engine, asked, HASTY)

    assert caught.value.again_s == engine_module.AGAIN_S
    assert last(engine, "cost")[:2] == ("requested", "LocksHeldError")
    assert engine_module.refresh_requested(engine, asked, HASTY) is not None
    assert last(engine, "cost")[0] == "succeeded"


def test_a_coalesced_tick_names_the_session_that_holds_its_locks(engine: Engine) -> None:
    with locks.held(engine, "cost", [5]), engine.connect() as conn:
        ((pid, _, _),) = lock_sessions(conn)
        assert engine_module.refresh(engine, "cost", HASTY) is None

    state, error_class, error = last(engine, "cost")
    assert (state, error_class) == ("coalesced", "LocksHeldError")
    assert f"cost is locked by pid {pid} (" in error


def test_rescue_passes_over_a_signal_that_is_locked(engine: Engine) -> None:
    blocked, free = request(engine, "patterns"), request(engine, "attention")
    with engine.begin() as conn:
        conn.execute(text("update signals.refresh set requested_at = requested_at - interval '1 hour'"))

    with host_lock(engine, "public.aos_traces"):
        assert take_up(engine, HASTY)
        assert not take_up(engine, HASTY)

    with engine.connect() as conn:
        states = dict(conn.execute(select(refresh.c.refresh_id, refresh.c.state)).all())
    assert states == {blocked: "requested", free: "succeeded"}


def test_held_locks_have_no_snapshot_that_would_hold_back_vacuum(engine: Engine) -> None:
    with engine.connect() as conn, locks.held(engine, "cost", range(SLOTS)), locks.held(engine, "patterns", [1]):
        sessions = lock_sessions(conn)

    assert [row[1:] for row in sessions] == [(None, None)] * 2


def test_held_locks_stay_where_idle_transactions_are_ended(engine: Engine) -> None:
    with engine.begin() as conn:
        name = conn.execute(text("select quote_ident(current_database())")).scalar_one()
        conn.execute(text(f"alter database {name} set idle_in_transaction_session_timeout = '50ms'"))
        if (conn.dialect.server_version_info or ()) >= (17,):
            conn.execute(text(f"alter database {name} set transaction_timeout = '50ms'"))
    engine.dispose()

    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with locks.held(engine, "cost", [1]) as lock, autocommit.connect() as conn:
        for _ in range(10):
            conn.execute(text("select pg_sleep(0.02)"))
        assert lock is not None
        lock.check()
    with engine.begin() as conn:
        conn.execute(text("set idle_in_transaction_session_timeout = 0"))


def test_locks_end_with_their_connection_and_the_refresh_publishes_nothing(engine: Engine) -> None:
    with engine.begin() as conn:
        plant(conn, "acme", now(conn))
    with ThreadPoolExecutor(1) as pool, engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        with host_lock(engine, "public.runs"):
            refreshing = pool.submit(engine_module.refresh, engine, "cost", SETTINGS)
            waiting = text("select count(*) from pg_locks where locktype = 'relation' and not granted")
            until(lambda: conn.execute(waiting).scalar_one() > 0, "the refresh waits for the table")
            ((pid, _, _),) = lock_sessions(conn)
            conn.execute(select(func.pg_terminate_backend(pid)))
            until(lambda: not lock_sessions(conn), "the locks are free")
        with pytest.raises(DBAPIError):
            refreshing.result()
        assert conn.execute(select(func.count()).select_from(snapshot)).scalar_one() == 0
        assert conn.execute(select(func.count()).select_from(freshness)).scalar_one() == 0

    assert engine_module.refresh(engine, "cost", SETTINGS) is not None


def test_a_command_that_excludes_refreshes_says_which_session_it_waited_for(engine: Engine) -> None:
    with locks.held(engine, "cost", [7]), engine.connect() as conn:
        ((pid, _, _),) = lock_sessions(conn)
        with (
            pytest.raises(ActivityError, match=rf"cost is locked by pid {pid} \("),
            no_refresh(engine, [7], wait_s=0.1),
        ):
            pytest.fail("it began")
