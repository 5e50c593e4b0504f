"""The demo's present: runs start, take steps and end; signals move; nothing grows without bound."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ops.local import startup
from ops.local.demo.feed import GAP, KEPT, catch_up, prune, prune_if_allowed, tick
from ops.local.demo.loading import load_demo
from ops.local.instance import Instance
from snapshots import database
from snapshots.errors import ActivityError
from tests.factories import insert_run, insert_trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.postgres import Server

AS_OF = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)
DEADLINE_S = 60


@pytest.fixture(scope="module")
def demo_url(server: Server) -> Iterator[str]:
    url = server.create_migrated_database()
    load_demo(url, AS_OF)
    yield url
    server.drop_database(url)


@pytest.fixture
def demo(demo_url: str) -> Iterator[Connection]:
    """Return a connection to a database with the demo of AS_OF, rolled back afterwards."""
    engine = database.connect(demo_url)
    with engine.connect() as conn:
        yield conn
        conn.rollback()
    engine.dispose()


def rows(conn: Connection, query: str, **binds: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in conn.execute(text(query), binds)]


def dice(seed: int = 1) -> Random:
    return Random(seed)  # noqa: S311  # a story, not a secret


def play(conn: Connection, minutes: float) -> None:
    """Tick for so long, every ten seconds."""
    rng = dice()
    for number in range(1, int(6 * minutes) + 1):
        tick(conn, AS_OF + timedelta(seconds=10 * number), rng)


def test_a_tick_moves_the_heartbeats_of_the_runs_that_go_on(demo: Connection) -> None:
    later = AS_OF + timedelta(seconds=3)

    done = tick(demo, later, dice())

    seen = dict(rows(demo, "select last_seen_at, count(*) from runs where state = 'LIVE' group by 1"))
    assert seen[later] >= done.under_way - 3
    assert rows(demo, "select count(*) from runs where state = 'LIVE' and latency_bucket = 'STALLED'") == [(3,)]


def test_runs_take_their_steps_and_end_with_a_cost(demo: Connection) -> None:
    live = {run_id for (run_id,) in rows(demo, "select id from runs where state = 'LIVE' and latency_bucket = 'OK'")}
    steps_before = rows(demo, "select count(*) from aos_trace_steps")[0][0]

    play(demo, minutes=10)

    ended = rows(demo, "select id, completed_at, estimated_cost_usd, duration_ms from runs where state = 'COMPLETED'")
    of_live = [row for row in ended if row[0] in live]
    assert len(of_live) == len(live)
    assert all(None not in row and row[1] > AS_OF for row in of_live)
    assert rows(demo, "select count(*) from aos_trace_steps")[0][0] > steps_before


def test_new_runs_start_and_some_of_them_show_in_a_signal(demo: Connection) -> None:
    play(demo, minutes=30)

    new = rows(demo, "select synthetic_scenario_id, is_synthetic from runs where started_at > :since", since=AS_OF)
    assert len(new) > 30
    assert all(is_synthetic for _, is_synthetic in new)
    scenarios = {scenario for scenario, _ in new}
    assert "usual" in scenarios
    assert len(scenarios) > 3


def test_ticks_append_to_traces_and_never_change_what_is_written(demo: Connection) -> None:
    content = "select trace_id, step_index, md5(s::text) from aos_trace_steps s"
    before = set(rows(demo, content))

    play(demo, minutes=5)

    assert before <= set(rows(demo, content))


def test_a_stalled_run_is_given_up_in_the_end(demo: Connection) -> None:
    stalled = rows(demo, "select id from runs where state = 'LIVE' and latency_bucket = 'STALLED'")

    tick(demo, AS_OF + timedelta(hours=1), dice())

    ended = rows(demo, "select id, status, latency_bucket from runs where state = 'COMPLETED'")
    found = {row[0]: row[1:] for row in ended}
    assert [found[run_id][0] for (run_id,) in stalled] == ["aborted"] * 3


def test_ticks_leave_other_peoples_runs_alone(demo: Connection) -> None:
    mine = insert_run(demo, tenant_id="acme-support", state="LIVE", status="running", last_seen_at=AS_OF)
    other = insert_run(demo, tenant_id="someone", state="LIVE", is_synthetic=True, last_seen_at=AS_OF)

    play(demo, minutes=1)

    seen = "select last_seen_at from runs where id in (:mine, :other)"
    assert rows(demo, seen, mine=mine, other=other) == [(AS_OF,), (AS_OF,)]


def test_a_short_pause_is_no_gap(demo: Connection) -> None:
    assert catch_up(demo, AS_OF + GAP / 2) == 0


def test_a_long_pause_is_told_as_history(demo: Connection) -> None:
    told = catch_up(demo, AS_OF + timedelta(days=1))

    assert rows(demo, "select count(*) from runs where started_at > :since", since=AS_OF) == [(told,)]
    assert told > 100


def test_the_synthetic_runs_of_a_host_are_not_taken_for_the_demo(fresh_database: str) -> None:
    engine = database.connect(fresh_database)
    with engine.begin() as conn:
        insert_run(conn, tenant_id="acme-support", id="run-of-a-host", is_synthetic=True)
    before = startup.has_demo(engine)
    load_demo(fresh_database)

    assert (before, startup.has_demo(engine)) == (False, True)
    engine.dispose()


def test_a_key_that_cannot_be_kept_is_not_made(fresh_database: str, tmp_path: Path) -> None:
    engine = database.connect(fresh_database)
    in_the_way = tmp_path / f".demo-key.{os.getpid()}"
    in_the_way.mkdir()

    with pytest.raises(ActivityError, match=r"demo-key: cannot be written"):
        startup.demo_key(engine, Instance(tmp_path))
    in_the_way.rmdir()
    made = startup.demo_key(engine, Instance(tmp_path))

    with engine.connect() as conn:
        assert rows(conn, "select key_id from signals.api_key") == [(made.split("_")[1],)]
    assert startup.demo_key(engine, Instance(tmp_path)) == made
    engine.dispose()


def test_a_kept_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name in ("demo-key", "credentials.json"):
        (tmp_path / name).mkdir()

    with pytest.raises(ActivityError, match=r"demo-key: cannot be read \(Is a directory\)"):
        Instance(tmp_path).demo_key()
    with pytest.raises(ActivityError, match=r"credentials.json: cannot be read \(Is a directory\)"):
        Instance(tmp_path).credentials()


def test_without_a_demo_there_is_no_gap(conn: Connection) -> None:
    assert catch_up(conn, AS_OF) == 0


def test_old_runs_of_the_demo_go_with_their_traces_and_others_stay(demo: Connection) -> None:
    old = AS_OF - KEPT
    kept = insert_run(demo, tenant_id="acme-support", started_at=old)
    insert_trace(demo, tenant_id="acme-support", run_id=kept, started_at=old)
    synthetic = {"tenant_id": "acme-support", "started_at": old, "is_synthetic": True}
    insert_run(demo, id="run-of-a-host", synthetic_scenario_id="load-test", **synthetic)
    insert_trace(demo, trace_id="trace-of-a-host", run_id="run-of-a-host", **synthetic)

    gone = prune(demo, AS_OF + timedelta(days=3))

    assert gone > 100
    before = AS_OF - timedelta(days=6)
    runs = "select id from runs where is_synthetic and started_at < :before"
    traces = "select trace_id from aos_traces where is_synthetic and started_at < :before"
    assert rows(demo, runs, before=before) == [("run-of-a-host",)]
    assert rows(demo, traces, before=before) == [("trace-of-a-host",)]
    assert rows(demo, "select count(*) from aos_traces where run_id = :kept", kept=kept) == [(1,)]


@pytest.mark.parametrize(
    "forbid",
    [
        "create table notes (run_id text references runs (id)); insert into notes select id from runs",
        """
        create function keep() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
        create trigger keep before delete on runs for each row execute function keep()
        """,
    ],
)
def test_a_host_that_keeps_its_rows_is_told_of_and_nothing_is_removed(
    fresh_database: str, caplog: pytest.LogCaptureFixture, forbid: str
) -> None:
    load_demo(fresh_database, datetime.now(UTC) - timedelta(days=5))
    engine = database.connect(fresh_database)
    with engine.begin() as conn:
        conn.execute(text(forbid))
        before = rows(conn, "select count(*) from runs union all select count(*) from aos_traces")

    prune_if_allowed(engine)

    with engine.connect() as conn:
        assert rows(conn, "select count(*) from runs union all select count(*) from aos_traces") == before
    assert "old demo runs stay: " in caplog.text
    engine.dispose()


def test_the_process_survives_a_lost_connection_and_ends_when_asked(fresh_database: str) -> None:
    load_demo(fresh_database)
    environment = {**os.environ, "ACTIVITY_DATABASE_URL": fresh_database}  # noqa: TID251  # handed on to the process
    engine = database.connect(fresh_database)
    process = subprocess.Popen([sys.executable, "-m", "ops.cli", "demo-feed"], env=environment)
    try:
        with engine.connect() as conn:
            wait_for_heartbeat(conn)
            cut = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'activity demo-feed'"
            assert rows(conn, cut) == [(True,)]
            wait_for_heartbeat(conn)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
        engine.dispose()


def wait_for_heartbeat(conn: Connection) -> None:
    """Wait until a run was heard of after now."""
    now = rows(conn, "select clock_timestamp()")[0][0]
    deadline = time.monotonic() + DEADLINE_S
    while rows(conn, "select max(last_seen_at) from runs")[0][0] <= now:
        assert time.monotonic() < deadline, "no heartbeat"
        conn.rollback()
        time.sleep(0.2)
