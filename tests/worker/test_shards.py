"""Shards refresh side by side, any number of them holds every tenant, and a reconcile repairs what drifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text

from migrations import capture
from snapshots import settings
from snapshots.errors import ActivityError
from snapshots.signals import SLOTS
from snapshots.tables import freshness, snapshot
from snapshots.tables import refresh as ledger_table
from tests.factories import insert_run
from worker.engine import ledger, locks
from worker.engine.context import RefreshRequest
from worker.engine.refresh import refresh, refresh_requested
from worker.engine.shards import COUNTS, Shard, shards
from worker.schedule import beat_schedule
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from sqlalchemy import Engine

SETTINGS = settings.load()
TENANTS = [f"tenant-{number}" for number in range(12)]
_TAMPERINGS = {
    "a fact that is wrong": "update signals.agent_cost set total_cost = total_cost + 1 where tenant_id = 'tenant-3'",
    "a fact that is gone": "delete from signals.agent_cost where tenant_id = 'tenant-3'",
    "a snapshot that is wrong": "update signals.snapshot set basis = 'x' where tenant_id = 'tenant-3'",
    "a snapshot that is gone": "delete from signals.snapshot where tenant_id = 'tenant-3'",
    "a fact of nobody": "insert into signals.agent_cost (tenant_id, agent_id, run_count, baseline_run_count,"
    " non_finite_costs, total_cost, current_avg_cost) values ('nobody', 'a', 1, 0, 0, 1, 1)",
}


@pytest.fixture
def captured(engine: Engine) -> Engine:
    """Return an engine on a captured database where each of twelve tenants has a run of a known cost."""
    capture.install(engine)
    with engine.begin() as conn:
        now = conn.execute(select(func.now())).scalar_one()
        for tenant in TENANTS:
            insert_run(conn, id=tenant, tenant_id=tenant, started_at=now, estimated_cost_usd=1)
    return engine


def published(engine: Engine) -> set[str]:
    with engine.connect() as conn:
        return set(conn.execute(select(snapshot.c.tenant_id).where(snapshot.c.signal == "cost")).scalars())


@pytest.mark.parametrize("count", COUNTS)
def test_every_slot_is_in_one_shard(count: int) -> None:
    assert sorted(slot for shard in shards(count) for slot in shard.slots) == list(range(SLOTS))


@pytest.mark.parametrize(("number", "count"), [(0, 3), (2, 2), (-1, 1), (0, 128), (0, 0)])
def test_a_shard_that_does_not_exist_is_refused(number: int, count: int) -> None:
    with pytest.raises(ActivityError, match="does not exist"):
        Shard(number, count)


def test_each_shard_publishes_its_own_tenants(captured: Engine) -> None:
    seen: set[str] = set()
    for shard in shards(4):
        refresh(captured, "cost", SETTINGS, shard=shard)
        found = published(captured) - seen
        with captured.connect() as conn:
            slots = {conn.execute(select(func.signals.slot_of(tenant))).scalar_one() for tenant in found}
        assert slots <= set(shard.slots)
        seen |= found

    assert seen == set(TENANTS)


def test_shards_run_side_by_side_and_those_that_overlap_do_not(captured: Engine) -> None:
    with locks.held(captured, "cost", Shard(0, 2).slots):
        other = refresh(captured, "cost", SETTINGS, shard=Shard(1, 2))
        overlapping = [refresh(captured, "cost", SETTINGS, shard=shard) for shard in (Shard(2, 4), Shard())]
        another_signal = refresh(captured, "attention", SETTINGS)

    assert other is not None
    assert another_signal is not None
    assert overlapping == [None, None]


def test_the_number_of_shards_may_change_at_any_time(captured: Engine) -> None:
    methods = []
    for number, count in enumerate((1, 4, 2, 8, 1)):
        with captured.begin() as conn:
            conn.execute(text("update runs set estimated_cost_usd = :cost"), {"cost": number + 2})
        results = [refresh(captured, "cost", SETTINGS, shard=shard) for shard in shards(count)]
        methods.append({result.method for result in results if result})
        with captured.connect() as conn:
            costs = conn.execute(text("select distinct total_cost from signals.cost_item")).scalars().all()
        assert costs == [number + 2]

    assert methods == [{"full"}, *[{"incremental"}] * 4]


def test_beat_rings_for_every_shard() -> None:
    rung = beat_schedule(settings.load(shards=4))

    assert rung["refresh-cost-3-of-4"]["args"] == ["cost", 3, 4]
    assert len(rung) == 2 * 3 * 4 + 3  # and three that keep house


@pytest.mark.parametrize("how", _TAMPERINGS)
def test_a_reconcile_counts_what_drifted_and_repairs_it(captured: Engine, how: str) -> None:
    refresh(captured, "cost", SETTINGS)
    with captured.connect() as conn:
        before = conn.execute(select(snapshot.c.tenant_id, snapshot.c.content).order_by(snapshot.c.tenant_id)).all()
    with captured.begin() as conn:
        conn.execute(text(_TAMPERINGS[how]))

    first = refresh(captured, "cost", SETTINGS, mode="reconcile")
    second = refresh(captured, "cost", SETTINGS, mode="reconcile")

    assert first is not None
    assert second is not None
    assert (first.drift, second.drift) == (1, 0)
    with captured.connect() as conn:
        after = select(snapshot.c.tenant_id, snapshot.c.content).order_by(snapshot.c.tenant_id)
        assert conn.execute(after).all() == before
        kept = select(ledger_table.c.drift).where(ledger_table.c.mode == "reconcile").order_by("refresh_id")
        assert conn.execute(kept).scalars().all() == [1, 0]


def test_what_changed_since_the_last_refresh_is_no_drift(captured: Engine) -> None:
    refresh(captured, "cost", SETTINGS)
    with captured.begin() as conn:
        conn.execute(text("update runs set estimated_cost_usd = 7"))

    result = refresh(captured, "cost", SETTINGS, mode="reconcile")

    assert result is not None
    assert (result.drift, result.tenants_changed) == (0, 12)


def test_a_full_recompute_that_an_operator_asked_for_compares_too(captured: Engine) -> None:
    refresh(captured, "cost", SETTINGS)
    with captured.begin() as conn:
        conn.execute(text(_TAMPERINGS["a fact that is wrong"]))
    with captured.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="a test", is_full=True))

    result = refresh_requested(captured, asked, SETTINGS)

    assert result is not None
    assert result.drift == 1


def test_a_tenant_that_is_asked_for_is_read_anew(captured: Engine) -> None:
    refresh(captured, "cost", SETTINGS)
    with captured.begin() as conn:
        conn.execute(text(_TAMPERINGS["a fact that is wrong"]))
    with captured.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.request(
            books, RefreshRequest("cost", mode="manual", requested_by="a test", tenants=["tenant-3"])
        )

    refresh_requested(captured, asked, SETTINGS)
    result = refresh(captured, "cost", SETTINGS, mode="reconcile")

    assert result is not None
    assert result.drift == 0


def test_a_long_queue_before_a_full_recompute_is_emptied_in_batches(captured: Engine) -> None:
    with captured.begin() as conn:
        conn.execute(text("insert into signals.dirty_agent select 'tenant-1', n::text from generate_series(1, 100) n"))

    result = refresh(captured, "cost", settings.load(refresh_batch_marks=30))

    assert result is not None
    assert result.method == "full"
    assert published(captured) == set(TENANTS)
    with captured.connect() as conn:
        assert conn.execute(text("select count(*) from signals.dirty_agent")).scalar_one() == 0


def test_the_tenant_of_a_mark_is_found_through_the_index_of_the_traces(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(
            text(
                "insert into aos_traces (trace_id, run_id, tenant_id)"
                " select n::text, n::text, 'acme' from generate_series(1, 5000) n"
            )
        )
        conn.execute(text("analyze aos_traces"))
        queue = SIGNALS["patterns"].changes
        statement = select(queue.tenant).select_from(queue.queue).compile(conn, compile_kwargs={"literal_binds": True})
        plan = "\n".join(conn.execute(text(f"explain {statement}")).scalars())

    assert "Index Scan using aos_traces_trace_id_key" in plan
    assert "Seq Scan on aos_traces" not in plan


def test_freshness_moves_when_the_queue_is_empty_and_not_before(captured: Engine) -> None:
    refresh(captured, "cost", SETTINGS)
    with captured.begin() as conn:
        conn.execute(text("insert into signals.dirty_agent select 'tenant-1', n::text from generate_series(1, 100) n"))
        before = conn.execute(select(func.max(freshness.c.verified_at))).scalar_one()

    result = refresh(captured, "cost", settings.load(refresh_batch_marks=30))

    assert result is not None
    assert (result.marks, result.is_drained) == (100, True)
    with captured.connect() as conn:
        assert conn.execute(select(func.min(freshness.c.verified_at))).scalar_one() > before
