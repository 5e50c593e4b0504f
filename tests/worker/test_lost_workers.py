"""Refreshes of lost workers: closed at the next refresh or rescue, and no duration of theirs is shown."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from ops.health import ledger as health_ledger
from snapshots.database import connect
from snapshots.signals import SIGNALS
from snapshots.tables import refresh
from tests.worker.test_refresh import SETTINGS
from worker.engine import ledger, locks
from worker.engine.context import RefreshRequest
from worker.engine.refresh import refresh as run_refresh
from worker.engine.shards import Shard
from worker.housekeeping.rescue import take_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.postgres import Server


@pytest.fixture
def worker(fresh_database: str) -> Iterator[Connection]:
    """Yield the session of another worker."""
    engine = connect(fresh_database)
    with engine.connect() as conn:
        yield conn
    engine.dispose()


def _begin(engine: Engine, worker: Connection, signal: str, shard: Shard, tenants: list[str] | None = None) -> int:
    """Take the locks of an attempt and write down that it runs, an hour ago, as a worker does."""
    slots = shard.slots
    if tenants is not None:
        slots = sorted(worker.execute(text("select signals.slot_of(t) from unnest(:t) as t"), {"t": tenants}).scalars())
        worker.rollback()
    context = locks.held(worker.engine, signal, slots)
    lock = context.__enter__()
    assert lock is not None
    worker.info.setdefault("locks", []).append((context, lock.pid))  # kept: the worker ends without leaving them
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        asked = ledger.request(
            conn, RefreshRequest(signal, mode="manual", requested_by="test", shard=shard, tenants=tenants)
        )
        now = conn.execute(text("select clock_timestamp()")).scalar_one()
        assert ledger.mark_running(conn, asked, as_of=now, fence=1)
        conn.execute(text("update signals.refresh set started_at = started_at - interval '73 minutes'"))
    return asked


def _close(engine: Engine) -> int:
    with engine.begin() as conn:
        return ledger.close_lost(conn)


def _state(engine: Engine, refresh_id: int) -> tuple[str, str | None]:
    with engine.connect() as conn:
        row = conn.execute(select(refresh).where(refresh.c.refresh_id == refresh_id)).one()
        return row.state, row.error_class


def _kill(worker: Connection) -> None:
    """End the sessions that hold the locks of a worker, and wait until they are gone."""
    admin = connect(worker.engine.url)
    for context, pid in worker.info.pop("locks"):
        with admin.begin() as conn:
            assert conn.execute(text("select pg_terminate_backend(:pid, 10000)"), {"pid": pid}).scalar_one()
        with suppress(DBAPIError):
            context.__exit__(None, None, None)
    admin.dispose()


@pytest.mark.parametrize("tenants", [None, ["acme", "globex"]])
@pytest.mark.parametrize("shard", [Shard(0, 1), Shard(3, 4)])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_refresh_whose_worker_lives_is_left_alone(
    engine: Engine, worker: Connection, signal: str, shard: Shard, tenants: list[str] | None
) -> None:
    asked = _begin(engine, worker, signal, shard, tenants)

    assert _close(engine) == 0
    assert _state(engine, asked) == ("running", None)
    _kill(worker)
    assert _close(engine) == 1
    assert _state(engine, asked) == ("failed", "WorkerLost")


def test_the_next_tick_closes_what_a_lost_worker_left(engine: Engine, worker: Connection) -> None:
    asked = _begin(engine, worker, "cost", Shard())
    _kill(worker)

    assert run_refresh(engine, "cost", SETTINGS) is not None

    assert _state(engine, asked) == ("failed", "WorkerLost")


def test_rescue_closes_what_lost_workers_left_of_every_signal(engine: Engine, worker: Connection) -> None:
    asked = [_begin(engine, worker, signal, Shard()) for signal in ("cost", "patterns")]
    _kill(worker)

    assert not take_up(engine, SETTINGS)

    assert {_state(engine, each) for each in asked} == {("failed", "WorkerLost")}


def test_a_redelivered_refresh_goes_on_under_its_own_row(engine: Engine, worker: Connection) -> None:
    asked = _begin(engine, worker, "cost", Shard())
    _kill(worker)

    with engine.begin() as conn:
        assert ledger.close_lost(conn, besides=asked) == 0


def test_the_age_of_a_lost_refresh_is_no_duration(engine: Engine, worker: Connection) -> None:
    _begin(engine, worker, "cost", Shard())
    _kill(worker)
    _close(engine)

    with engine.begin() as conn:
        told = health_ledger.read(conn, SETTINGS, health_ledger.crowds(conn))

    assert [(each.outcome, each.count, each.max_s, each.mean_s) for each in told.attempts] == [
        ("failed", 1, None, None)
    ]


def test_the_workers_own_role_sees_who_is_lost(server: Server, engine: Engine, worker: Connection) -> None:
    asked = _begin(engine, worker, "cost", Shard())
    url = server.url_as("activity_worker", engine.url.render_as_string(hide_password=False))
    with connect(url).begin() as conn:
        assert ledger.close_lost(conn) == 0
    _kill(worker)
    with connect(url).begin() as conn:
        assert ledger.close_lost(conn) == 1
    assert _state(engine, asked) == ("failed", "WorkerLost")
