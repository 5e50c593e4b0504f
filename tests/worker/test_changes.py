"""Each way in which an answer changes, one by one: by a write, by time alone, by a move between tenants and shards."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text

from migrations import capture
from snapshots.tables import snapshot
from tests.factories import AS_OF, insert_run, insert_step, insert_trace
from tests.worker.agreement import SETTINGS, assert_published_equals_staged
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext
from worker.engine.publish import draw_fence
from worker.engine.shards import shards
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
#: Runs by how far their instants are from the present, and whether a minute later their tenant's answer is another one.
_CROSSING_RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "leaves the current day": ("cost", {"started_at": -_DAY + _MINUTE / 2, "completed_at": -_MINUTE}),
    "enters the baseline": ("cost", {"started_at": -2 * _DAY, "completed_at": -_DAY + _MINUTE / 2}),
    "leaves the baseline": ("cost", {"started_at": -8 * _DAY, "completed_at": -7 * _DAY + _MINUTE / 2}),
    "starts": ("cost", {"started_at": _MINUTE / 2, "completed_at": _DAY}),
    "starts, in the baseline": ("cost", {"started_at": _MINUTE / 2, "completed_at": -2 * _DAY}),
    "has its day behind it": ("attention", {"started_at": -_DAY, "completed_at": -_DAY + _MINUTE / 2}),
    "comes to ask": ("attention", {"started_at": _MINUTE / 2, "completed_at": _DAY}),
    "falls silent": (
        "attention",
        {"started_at": -2 * _DAY, "last_seen_at": -_DAY + _MINUTE / 2, "state": "LIVE", "completed_at": None},
    ),
}
#: An agent with a history, beside which the crossing run matters.
_HISTORY = (
    {"id": "old-1", "estimated_cost_usd": 1, "started_at": -3 * _DAY, "completed_at": -3 * _DAY},
    {"id": "old-2", "estimated_cost_usd": 3, "started_at": -3 * _DAY, "completed_at": -3 * _DAY},
    {"id": "now", "estimated_cost_usd": 5, "started_at": -_DAY / 2, "completed_at": -_DAY / 2},
)


@pytest.fixture
def captured(engine: Engine) -> Engine:
    """Return an engine on a database whose changes are captured."""
    capture.install(engine)
    return engine


def bring(engine: Engine, signal: str, now: datetime, count: int = 2) -> list[str]:
    """Refresh every shard as of `now`, compare, and return the methods that were used."""
    methods: list[str] = []
    for shard in shards(count):
        with engine.begin() as conn:
            context = RefreshContext(SIGNALS[signal], SETTINGS, 1, now, draw_fence(conn)[1], shard)
            methods.append(refresh_batch(conn, context).method)
    with engine.connect() as conn:
        assert_published_equals_staged(conn, SIGNALS[signal], now)
    return methods


def basis(engine: Engine, tenant: str = "acme") -> str | None:
    with engine.connect() as conn:
        return conn.execute(select(snapshot.c.basis).where(snapshot.c.tenant_id == tenant)).scalar()


def plant_run(conn: Connection, **values: Any) -> None:  # noqa: ANN401  # any column's value
    moved = {name: AS_OF + value if isinstance(value, timedelta) else value for name, value in values.items()}
    insert_run(conn, **{"risk_level": "AT_RISK", "agent_id": "a", **moved})


def plant_trace(conn: Connection, started_at: datetime, tenant_id: str = "acme") -> None:
    insert_trace(conn, trace_id="t", run_id="run-1", tenant_id=tenant_id, started_at=started_at)
    insert_step(conn, "t", 0, retry_count=5)


@pytest.mark.parametrize("how", _CROSSING_RUNS)
def test_time_alone_changes_an_answer(captured: Engine, how: str) -> None:
    signal, moments = _CROSSING_RUNS[how]
    with captured.begin() as conn:
        for values in _HISTORY:
            plant_run(conn, **values)
        plant_run(conn, id="crossing", **{"estimated_cost_usd": 9, **moments})
    bring(captured, signal, AS_OF)
    before = basis(captured)

    methods = bring(captured, signal, AS_OF + _MINUTE)

    assert set(methods) == {"incremental"}
    assert basis(captured) != before


@pytest.mark.parametrize("started_at", [-_DAY + _MINUTE / 2, _MINUTE / 2], ids=["leaves", "enters"])
def test_time_alone_changes_the_patterns(captured: Engine, started_at: timedelta) -> None:
    with captured.begin() as conn:
        plant_trace(conn, AS_OF + started_at)
        insert_trace(conn, trace_id="other", run_id="run-2", tenant_id="acme", started_at=AS_OF)
        insert_step(conn, "other", 0, retry_count=3)
    bring(captured, "patterns", AS_OF)
    before = basis(captured)

    methods = bring(captured, "patterns", AS_OF + _MINUTE)

    assert set(methods) == {"incremental"}
    assert basis(captured) != before


_WRITES: dict[str, str] = {
    "a late step": "insert into aos_trace_steps (trace_id, step_index, retry_count) values ('t', 7, 3)",
    "a changed step": "update aos_trace_steps set retry_count = 4",
    "a step that is gone": "delete from aos_trace_steps",
    "a trace that is gone": "delete from aos_traces",
    "a trace of another run": "update aos_traces set run_id = 'run-2'",
    "a trace of another tenant": "update aos_traces set tenant_id = 'beta'",
    "an archived trace": "update aos_traces set archived_at = now()",
    "a trace that moved out of the window": "update aos_traces set started_at = '2020-01-01'",
}


@pytest.mark.parametrize("write", _WRITES)
@pytest.mark.parametrize("count", [1, 2])
def test_a_write_changes_the_patterns(captured: Engine, write: str, count: int) -> None:
    with captured.begin() as conn:
        plant_trace(conn, AS_OF)
    bring(captured, "patterns", AS_OF, count)
    before = basis(captured)
    with captured.begin() as conn:
        conn.execute(text(_WRITES[write]))

    methods = bring(captured, "patterns", AS_OF, count)

    assert set(methods) == {"incremental"}
    assert basis(captured) != before
    assert (basis(captured, "beta") is not None) == ("tenant" in write)


_RUN_WRITES: dict[str, str] = {
    "another cost": "update runs set estimated_cost_usd = 8 where id = 'now'",
    "another agent": "update runs set agent_id = null where id = 'now'",
    "another tenant": "update runs set tenant_id = 'beta' where id = 'now'",
    "another id": "update runs set id = 'renamed' where id = 'now'",
    "no cost": "update runs set estimated_cost_usd = null where id = 'now'",
    "gone": "delete from runs where id = 'now'",
    "dated back": "update runs set started_at = '2026-01-10', completed_at = '2026-01-10' where id = 'now'",
}


@pytest.mark.parametrize("signal", ["cost", "attention"])
@pytest.mark.parametrize("write", _RUN_WRITES)
def test_a_write_changes_what_is_made_of_runs(captured: Engine, signal: str, write: str) -> None:
    with captured.begin() as conn:
        for values in _HISTORY:
            plant_run(conn, **values)
    bring(captured, signal, AS_OF)
    with captured.begin() as conn:
        conn.execute(text(_RUN_WRITES[write]))

    assert set(bring(captured, signal, AS_OF)) == {"incremental"}


def test_a_step_whose_transaction_commits_after_a_later_one_was_refreshed_is_not_lost(captured: Engine) -> None:
    with captured.begin() as conn:
        plant_trace(conn, AS_OF)
    with captured.connect() as late:
        insert_step(late, "t", 1, retry_count=9)
        with captured.begin() as conn:
            insert_step(conn, "t", 2, retry_count=1)
        bring(captured, "patterns", AS_OF)
        late.commit()

    assert set(bring(captured, "patterns", AS_OF)) == {"incremental"}


def test_a_longer_queue_is_worked_off_batch_by_batch(captured: Engine) -> None:
    with captured.begin() as conn:
        bring(captured, "patterns", AS_OF)
        for number in range(20):
            insert_trace(conn, trace_id=f"t-{number}", run_id=f"run-{number}", tenant_id="acme", started_at=AS_OF)
            insert_step(conn, f"t-{number}", 0, retry_count=5)
    marks: list[int] = []
    after: str | None = None
    is_drained = False
    while not is_drained:
        with captured.begin() as conn:
            context = RefreshContext(SIGNALS["patterns"], SETTINGS, 1, AS_OF, draw_fence(conn)[1])
            batch = refresh_batch(conn, context, after=after, limit=15)
        marks.append(batch.marks)
        after, is_drained = batch.last, batch.is_drained

    assert marks == [15, 15, 10, 0]
    with captured.connect() as conn:
        assert_published_equals_staged(conn, SIGNALS["patterns"], AS_OF)
