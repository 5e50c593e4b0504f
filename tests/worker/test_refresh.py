"""A refresh publishes what changed, whole, once, and never over something newer."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import DBAPIError

from snapshots import settings
from snapshots.errors import SchemaMismatchError
from snapshots.items import ITEMS
from snapshots.signals import SIGNALS
from snapshots.tables import freshness, refresh, snapshot, snapshot_history
from tests.factories import insert_run, insert_step, insert_trace
from worker.engine import ledger, locks
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext, RefreshRequest
from worker.engine.publish import draw_fence
from worker.engine.refresh import refresh as run_refresh
from worker.engine.refresh import refresh_requested
from worker.engine.shards import WHOLE
from worker.signals.registry import SIGNALS as RULES

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from worker.engine.context import RefreshResult

SETTINGS = settings.load()


def now(conn: Connection) -> datetime:
    instant: datetime = conn.execute(select(func.now())).scalar_one()
    return instant


def plant(conn: Connection, tenant: str, as_of: datetime, *, run_id: str = "run_1") -> None:
    """Insert one run that every signal finds: it retries, it costs, it is at risk."""
    started = as_of - timedelta(hours=1)
    insert_run(
        conn,
        id=run_id,
        tenant_id=tenant,
        agent_id="agent",
        state="COMPLETED",
        status="failed",
        started_at=started,
        completed_at=as_of - timedelta(minutes=30),
        risk_level="AT_RISK",
        estimated_cost_usd=2,
    )
    insert_trace(conn, trace_id=f"{tenant}-{run_id}", run_id=run_id, tenant_id=tenant, started_at=started)
    insert_step(conn, trace_id=f"{tenant}-{run_id}", step_index=0, retry_count=3)


def publish_at(conn: Connection, signal: str, as_of: datetime, tenants: list[str] | None = None) -> RefreshResult:
    """Publish `signal` as of an instant, under the next fence number."""
    _, fence = draw_fence(conn)
    return publish_under(conn, signal, (as_of, fence), tenants)


def publish_under(
    conn: Connection, signal: str, instant: tuple[datetime, int], tenants: list[str] | None = None
) -> RefreshResult:
    as_of, fence = instant
    return refresh_batch(conn, RefreshContext(RULES[signal], SETTINGS, fence, as_of, fence, tenants=tenants))


def row_versions(conn: Connection) -> list[Any]:
    """Return every published row with the transaction that wrote it."""
    names = [f"signals.{name}" for name in ("snapshot", "snapshot_history", *(table.name for table in ITEMS.values()))]
    return [conn.execute(text(f"select xmin, ctid, * from {name} order by ctid")).all() for name in names]  # noqa: S608  # names are ours


def content_of(conn: Connection, signal: str, tenant: str) -> dict[str, Any]:
    found = snapshot.c.signal == signal, snapshot.c.tenant_id == tenant
    body: dict[str, Any] = json.loads(conn.execute(select(snapshot.c.content).where(*found)).scalar_one())
    return body


@pytest.mark.parametrize("signal", SIGNALS)
def test_each_tenant_gets_a_snapshot_and_its_items(conn: Connection, signal: str) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    plant(conn, "globex", as_of, run_id="run_2")

    result = publish_at(conn, signal, as_of)

    assert result.tenants_changed == 2
    items = ITEMS[signal]
    assert set(conn.execute(select(items.c.tenant_id)).scalars()) == {"acme", "globex"}
    assert content_of(conn, signal, "acme") != {}


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_second_refresh_as_of_the_same_instant_writes_nothing(conn: Connection, signal: str) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    publish_at(conn, signal, as_of)
    before = row_versions(conn)

    result = publish_at(conn, signal, as_of)

    assert result.rows_changed == 0
    assert row_versions(conn) == before


@pytest.mark.parametrize("signal", SIGNALS)
def test_findings_that_are_gone_are_retracted_and_kept_as_history(conn: Connection, signal: str) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    publish_at(conn, signal, as_of)
    first = content_of(conn, signal, "acme")
    conn.execute(text("delete from aos_trace_steps"))
    conn.execute(text("delete from aos_traces"))
    conn.execute(text("delete from runs"))

    result = publish_at(conn, signal, as_of + timedelta(minutes=10))

    assert result.tenants_changed == 1
    emptied = content_of(conn, signal, "acme")
    assert emptied == json.loads(conn.execute(select(freshness.c.empty_content).distinct()).scalar_one())
    kept = conn.execute(select(snapshot_history)).one()
    assert json.loads(kept.content) == first
    assert kept.version == 1
    assert conn.execute(select(func.count()).select_from(ITEMS[signal])).scalar_one() == 0


@pytest.mark.parametrize("signal", SIGNALS)
def test_an_earlier_refresh_never_replaces_a_later_one(conn: Connection, signal: str) -> None:
    as_of = now(conn)
    _, early_fence = draw_fence(conn)
    plant(conn, "acme", as_of)
    publish_at(conn, signal, as_of)
    before = row_versions(conn)
    confirmed = conn.execute(select(freshness)).all()
    conn.execute(text("delete from aos_trace_steps"))
    conn.execute(text("delete from runs"))

    stale = publish_under(conn, signal, (as_of, early_fence))

    assert stale.rows_changed == 0
    assert row_versions(conn) == before
    assert conn.execute(select(freshness)).all() == confirmed


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_refresh_of_one_tenant_leaves_the_others_alone(conn: Connection, signal: str) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    plant(conn, "globex", as_of, run_id="run_2")

    result = publish_at(conn, signal, as_of, ["acme"])

    assert result.tenants_changed == 1
    assert conn.execute(select(snapshot.c.tenant_id)).scalars().all() == ["acme"]
    assert conn.execute(select(freshness)).all() == []


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_tenants_own_refresh_equals_its_part_of_the_whole(conn: Connection, signal: str) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    plant(conn, "globex", as_of, run_id="run_2")
    publish_at(conn, signal, as_of, ["acme"])
    alone = content_of(conn, signal, "acme")

    result = publish_at(conn, signal, as_of)

    assert result.tenants_changed == 1
    assert content_of(conn, signal, "acme") == alone


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_number_of_statements_does_not_grow_with_the_tenants(conn: Connection, signal: str) -> None:
    as_of = now(conn)
    counts = []
    for tenants in (1, 40):
        for number in range(tenants):
            plant(conn, f"tenant-{tenants}-{number}", as_of, run_id=f"run-{tenants}-{number}")
        seen: list[str] = []

        def record(*arguments: Any, seen: list[str] = seen) -> None:  # noqa: ANN401  # SQLAlchemy's event has six positions
            seen.append(arguments[2])

        publish_at(conn, signal, as_of)  # the session's staging tables exist from here on
        event.listen(conn, "before_cursor_execute", record)
        publish_at(conn, signal, as_of + timedelta(minutes=10))
        event.remove(conn, "before_cursor_execute", record)
        counts.append(len(seen))

    assert counts[0] == counts[1]


def test_a_queue_is_rescored_when_it_is_old_enough_and_not_before(conn: Connection) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    publish_at(conn, "attention", as_of)
    # The next refresh comes a period later: the queue must not be older than the setting by then.
    age = timedelta(seconds=SETTINGS.attention_rescore_s - SETTINGS.attention_period_s)

    young = publish_at(conn, "attention", as_of + age - timedelta(seconds=1))
    old = publish_at(conn, "attention", as_of + age)

    assert (young.tenants_changed, old.tenants_changed) == (0, 1)
    generated_at = content_of(conn, "attention", "acme")["generated_at"]
    assert generated_at == f"{as_of + age:%Y-%m-%dT%H:%M:%S.%fZ}"


def test_a_rescored_queue_in_the_same_order_is_no_history(conn: Connection) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    publish_at(conn, "attention", as_of)

    result = publish_at(conn, "attention", as_of + timedelta(minutes=6))

    assert (result.tenants_changed, result.history_rows) == (1, 0)


def test_a_queue_whose_order_keeps_changing_is_kept_every_five_minutes(conn: Connection) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    publish_at(conn, "attention", as_of)
    kept = []
    for minute in range(1, 8):
        later = as_of + timedelta(minutes=minute)
        plant(conn, "acme", later, run_id=f"later-{minute}")
        kept.append(publish_at(conn, "attention", later).history_rows)

    assert kept == [1, 0, 0, 0, 0, 1, 0]


def test_a_tick_ends_at_once_while_a_refresh_is_under_way(engine: Engine) -> None:
    with locks.held(engine, "cost", WHOLE.slots[:1]):
        result = run_refresh(engine, "cost", SETTINGS)

    assert result is None
    with engine.connect() as conn:
        assert conn.execute(select(refresh.c.state)).scalars().all() == ["coalesced"]


def test_the_ledger_tells_what_a_refresh_did(engine: Engine) -> None:
    with engine.begin() as conn:
        plant(conn, "acme", now(conn))

    run_refresh(engine, "cost", SETTINGS, mode="reconcile", requested_by="a test")

    with engine.connect() as conn:
        row = conn.execute(select(refresh)).one()
    assert (row.state, row.mode, row.requested_by) == ("succeeded", "reconcile", "a test")
    assert (row.tenants_seen, row.tenants_changed, row.rows_changed) == (1, 1, 2)
    assert row.requested_at <= row.as_of <= row.finished_at


def test_a_failure_is_in_the_ledger_and_the_last_snapshot_stays(engine: Engine) -> None:
    with engine.begin() as conn:
        plant(conn, "acme", now(conn))
    run_refresh(engine, "patterns", SETTINGS)
    with engine.begin() as conn:
        before = row_versions(conn)
        conn.execute(text("alter view signals.source_step rename to source_step_gone"))

    with pytest.raises(SchemaMismatchError):
        run_refresh(engine, "patterns", SETTINGS, mode="reconcile")

    with engine.connect() as conn:
        assert row_versions(conn) == before
        row = conn.execute(select(refresh).order_by(refresh.c.refresh_id.desc()).limit(1)).one()
    assert row.state == "failed"
    assert "source_step" in row.error
    assert "select" not in row.error.lower()


def test_an_attempt_whose_worker_was_lost_is_closed(engine: Engine) -> None:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        lost = ledger.request(books, RefreshRequest("cost", mode="tick", requested_by="schedule"))
        ledger.mark_running(books, lost, as_of=now(books), fence=1)

        assert ledger.close_abandoned(books, older_than_s=3600) == 0
        assert ledger.close_abandoned(books, older_than_s=0) == 1
        row = books.execute(select(refresh)).one()
    assert (row.state, row.error_class) == ("failed", "WorkerLost")


def test_a_request_whose_worker_was_lost_is_taken_up_again(engine: Engine) -> None:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="a test"))
        ledger.mark_running(books, asked, as_of=now(books), fence=1)

    result = refresh_requested(engine, asked, SETTINGS)

    assert result is not None
    with engine.connect() as conn:
        assert conn.execute(select(refresh.c.state)).scalars().all() == ["succeeded"]
    assert refresh_requested(engine, asked, SETTINGS) is None


def test_an_error_that_is_retried_leaves_the_request_waiting(engine: Engine) -> None:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.request(books, RefreshRequest("patterns", mode="manual", requested_by="a test"))

    with engine.connect() as host:
        host.execute(text("lock table public.aos_traces in access exclusive mode"))
        with pytest.raises(DBAPIError):
            refresh_requested(engine, asked, settings.load(refresh_timeout_s=1), will_retry=True)

    with engine.connect() as conn:
        row = conn.execute(select(refresh)).one()
    assert (row.state, row.error_class) == ("requested", "OperationalError")


def test_one_absurd_cost_does_not_stop_the_others(conn: Connection) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    for number, day in enumerate((0, 3)):
        ended = as_of - timedelta(days=day, hours=1)
        poisoned = {"tenant_id": "globex", "started_at": ended, "completed_at": ended, "estimated_cost_usd": "1e400"}
        insert_run(conn, id=f"poisoned-{number}", **poisoned)

    publish_at(conn, "cost", as_of)

    assert content_of(conn, "cost", "acme")["agents"][0]["current_cost_usd"] == 2
    assert content_of(conn, "cost", "globex")["data_quality"] == {"non_finite_costs": 2}


def test_a_queue_of_an_instant_that_has_not_come_is_rescored(conn: Connection) -> None:
    as_of = now(conn)
    plant(conn, "acme", as_of)
    publish_at(conn, "attention", as_of + timedelta(hours=3))

    result = publish_at(conn, "attention", as_of)

    assert result.tenants_changed == 1
