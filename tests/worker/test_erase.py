"""A tenant that is erased is in no table and no column of ours, and the others are as they were."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import delete, func, insert, select, table, text, update

from migrations import capture
from ops.keys import create_key
from snapshots import settings
from snapshots.signals import SIGNALS, SLOTS
from snapshots.tables import api_key, quarantine, snapshot, snapshot_history
from snapshots.tables import refresh as ledger_table
from snapshots.triage import triage_event
from snapshots.webhooks import dead_letter, webhook
from tests.factories import insert_run, insert_step, insert_trace
from worker.engine import ledger, locks
from worker.engine.context import RefreshRequest
from worker.engine.refresh import refresh, refresh_requested
from worker.engine.shards import WHOLE, Shard
from worker.engine.tables import dirty_trace, fact_state
from worker.housekeeping.erase import REMOVED, erase

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

SETTINGS = settings.load()
GONE: Final = "zanzibar"
KEPT: Final = "acme"
SLOT_NUMBERS: Final = list(range(SLOTS))
#: What only the erased tenant has, besides its name: run, trace, agent, skill, label of its key.
DISTINCTIVE: Final = (GONE, "zrun", "ztrace", "zagent", "zskill", "zlabel")


def clock(conn: Connection) -> datetime:
    now: datetime = conn.execute(select(func.now())).scalar_one()
    return now


def plant(conn: Connection, tenant: str, prefix: str, number: int = 1) -> None:
    """Insert one run that every signal finds."""
    run, trace = f"{prefix}run-{number}", f"{prefix}trace-{number}"
    started = clock(conn) - timedelta(minutes=50)
    times = {"started_at": started, "completed_at": started + timedelta(minutes=10)}
    insert_run(conn, id=run, tenant_id=tenant, agent_id=f"{prefix}agent", risk_level="AT_RISK", **times)
    conn.execute(text("update runs set estimated_cost_usd = 2, status = 'failed' where id = :run"), {"run": run})
    insert_trace(conn, trace_id=trace, run_id=run, tenant_id=tenant, started_at=started)
    insert_step(conn, trace, 0, skill_id=f"{prefix}skill", retry_count=3)


@pytest.fixture
def populated(engine: Engine) -> Engine:
    """Return an engine on a database where two tenants are in every table that can name one."""
    capture.install(engine)
    for number in (1, 2):
        with engine.begin() as conn:
            plant(conn, GONE, "z", number)
            plant(conn, KEPT, "a", number)
        for signal in SIGNALS:
            refresh(engine, signal, SETTINGS)
    with engine.begin() as conn:
        plant(conn, GONE, "z", 3)
        plant(conn, KEPT, "a", 3)
        for tenant, label in ((GONE, "zlabel"), (KEPT, "")):
            create_key(conn, tenant, label=label)
            _fail(conn, tenant)
            _say(conn, tenant)
    return engine


def _say(conn: Connection, tenant: str) -> None:
    """Have somebody say something of an item, and a webhook that was not told."""
    item = {"tenant_id": tenant, "signal": "cost", "fingerprint": "0" * 32, "key": {"agent_id": tenant}}
    conn.execute(insert(triage_event).values(**item, action="acknowledge", actor="x"))
    hook = {"url": "https://example.com", "secret": "s", "format": "slack", "signals": [], "kinds": [], "last_no": 0}
    conn.execute(insert(webhook).values(tenant_id=tenant, **hook))
    letter = {"webhook_id": 1, "message_id": "m", "first_no": 1, "last_no": 1, "attempts": 1, "error": "e"}
    conn.execute(insert(dead_letter).values(tenant_id=tenant, **letter))


def _fail(conn: Connection, tenant: str) -> None:
    times = dict.fromkeys(("first_failed_at", "last_failed_at", "retry_at"), clock(conn))
    row = {"signal": "cost", "tenant_id": tenant, "failures": 1, "error_class": "DataError", "error": f"in {tenant}"}
    conn.execute(insert(quarantine).values(**row, **times))
    asked = ledger.request(conn, RefreshRequest("cost", mode="manual", requested_by="ops", tenants=[KEPT, tenant]))
    ledger.mark_failed(conn, asked, ValueError(f"{tenant} broke"), will_retry=False)
    for shard in (WHOLE, Shard(conn.execute(select(func.signals.slot_of(tenant))).scalar_one(), SLOTS)):
        tick = ledger.request(conn, RefreshRequest("cost", mode="tick", requested_by="schedule", shard=shard))
        ledger.mark_failed(conn, tick, ValueError(f"{tenant[0]}run-1 is not a number"), will_retry=False)


def holding(engine: Engine, word: str) -> set[str]:
    """Return the tables of schema signals, partitions included, in which some column of some row has `word`."""
    names = text("select relname from pg_class where relnamespace = 'signals'::regnamespace and relkind in ('r', 'p')")
    with engine.connect() as conn:
        return {name for name in conn.execute(names).scalars() if _has(conn, name, word)}


def _has(conn: Connection, name: str, word: str) -> bool:
    row = func.strpos(text(f"cast({name} as text)"), word) > 0
    return conn.execute(select(text("1")).select_from(table(name, schema="signals")).where(row)).first() is not None


def rows_of(engine: Engine, tenant: str) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as conn:
        return {
            rows.name: sorted(map(tuple, conn.execute(select(rows).where(rows.c.tenant_id == tenant))), key=str)
            for rows in (snapshot, snapshot_history, api_key, quarantine)
        }


def test_nothing_of_the_tenant_is_left_in_any_column(populated: Engine) -> None:
    before = set.union(*(holding(populated, word) for word in DISTINCTIVE))
    others = rows_of(populated, KEPT)

    erase(populated, GONE)

    assert before >= {
        *("agent_cost", "api_key", "attention_fact", "attention_item", "cost_item", "dirty_agent", "dirty_run"),
        *("dirty_trace", "pattern_item", "quarantine", "refresh", "run_pattern", "snapshot", "snapshot_history"),
        *("trace_fact", "movement", "item_state", "signal_change", "change_counter"),
        *("triage_event", "triage", "webhook", "dead_letter"),
    }
    assert {word: holding(populated, word) for word in DISTINCTIVE} == {word: set() for word in DISTINCTIVE}
    assert rows_of(populated, KEPT) == others
    assert all(others.values())


def test_it_says_what_went_and_what_the_host_still_has(populated: Engine) -> None:
    done = erase(populated, GONE)

    assert done.remaining == {"runs": 3, "traces": 3, "steps": 3}
    assert done.removed["snapshot"] == 3
    assert done.removed["api_key"] == 1
    assert set(erase(populated, GONE).removed.values()) == {0}


def test_the_ledger_keeps_its_rows_and_the_other_tenants(populated: Engine) -> None:
    erase(populated, GONE)

    with populated.connect() as conn:
        asked = conn.execute(select(ledger_table).where(ledger_table.c.tenants.is_not(None))).all()
    assert [(row.tenants, row.error) for row in asked] == [([KEPT, KEPT], "acme broke"), ([KEPT], REMOVED)]


def test_an_error_of_a_refresh_that_did_not_read_the_tenant_stays(populated: Engine) -> None:
    erase(populated, GONE)

    failed = select(ledger_table.c.error_class, ledger_table.c.error, ledger_table.c.shards)
    with populated.connect() as conn:
        told = conn.execute(failed.where(ledger_table.c.mode == "tick", ledger_table.c.state == "failed")).all()
    assert sorted(map(tuple, told), key=str) == [
        ("ValueError", "arun-1 is not a number", SLOTS),
        ("ValueError", REMOVED, 1),
        ("ValueError", REMOVED, 1),
        ("ValueError", REMOVED, SLOTS),
    ]


def test_a_request_for_the_tenant_alone_is_closed_and_never_taken_for_one_of_all(populated: Engine) -> None:
    with populated.begin() as conn:
        asked = ledger.request(conn, RefreshRequest("cost", mode="manual", requested_by="ops", tenants=[GONE]))

    erase(populated, GONE)

    with populated.connect() as conn:
        row = conn.execute(select(ledger_table).where(ledger_table.c.refresh_id == asked)).one()
    assert (row.state, row.error_class, row.tenants) == ("failed", "TenantErased", [])
    assert refresh_requested(populated, asked, SETTINGS) is None


def test_the_host_s_rows_bring_it_back_at_the_next_refresh(populated: Engine) -> None:
    erase(populated, GONE)

    methods = [done.method for signal in SIGNALS if (done := refresh(populated, signal, SETTINGS))]

    assert methods == ["full"] * 3
    assert len(rows_of(populated, GONE)["snapshot"]) == 3
    assert rows_of(populated, GONE)["api_key"] == []


def test_without_them_it_stays_forgotten(populated: Engine) -> None:
    with populated.begin() as conn:
        for statement in ("aos_traces where tenant_id = :tenant", "runs where tenant_id = :tenant"):
            conn.execute(text(f"delete from {statement}"), {"tenant": GONE})  # noqa: S608  # constants of this test

    done = erase(populated, GONE)
    for signal in SIGNALS:
        refresh(populated, signal, SETTINGS)

    assert done.remaining == {"runs": 0, "traces": 0, "steps": 0}
    assert {word: holding(populated, word) for word in DISTINCTIVE} == {word: set() for word in DISTINCTIVE}


def test_a_trace_that_is_another_tenant_s_by_now_keeps_its_mark(populated: Engine) -> None:
    with populated.begin() as conn:
        conn.execute(delete(dirty_trace))
        conn.execute(text("update aos_traces set tenant_id = 'acme' where trace_id = 'ztrace-1'"))

    erase(populated, GONE)

    with populated.connect() as conn:
        assert [tuple(row) for row in conn.execute(select(dirty_trace))] == [("ztrace-1", None)]


def test_it_waits_for_a_refresh_that_is_under_way(populated: Engine) -> None:
    with populated.connect() as worker, ThreadPoolExecutor(1) as pool:
        with locks.held(populated, "attention", SLOT_NUMBERS):
            erasing = pool.submit(erase, populated, GONE)
            wait_for_a_waiting_session(populated)
            with worker.begin():
                worker.execute(update(snapshot).where(snapshot.c.tenant_id == GONE).values(content='{"zrun":1}'))
            assert not erasing.done()
        erasing.result()

    assert holding(populated, "zrun") == set()


def wait_for_a_waiting_session(engine: Engine) -> None:
    waiting = text(
        "select 1 from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        while conn.execute(waiting).first() is None:
            pass


def test_the_facts_of_its_slot_are_made_anew_and_no_others(populated: Engine) -> None:
    with populated.connect() as conn:
        slot = conn.execute(select(func.signals.slot_of(GONE))).scalar_one()

    erase(populated, GONE)

    with populated.connect() as conn:
        known = set(conn.execute(select(fact_state.c.slot)).scalars())
    assert known == set(SLOT_NUMBERS) - {slot}
