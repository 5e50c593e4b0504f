"""A host with names of its own: every answer is that of its twin, whose names are those of a host at 094."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import Table, select

from ingest.files.load_rows import store
from migrations import capture, runner
from migrations.roles import ensure_roles
from snapshots.database import connect
from snapshots.items import ITEMS
from snapshots.tables import snapshot
from tests.factories import AS_OF
from tests.mapped import DDL, MAPPING
from tests.worker.agreement import SETTINGS, assert_published_equals_staged
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext
from worker.engine.publish import draw_fence
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

_MAPPED_CHANGES: Final = (
    'update "Plat.form"."agent ""Executions""" set "100%%s cost" = 900, took = 5 where "from" = \'2026-01-17 10:39\'',
    'update "Plat.form"."agent ""Executions""" set "org:name" = \'beta\' where "$$; drop table x; --" = \'run-40\'',
    'delete from "Plat.form"."steps;\n\n" where span = \'t0\'',
    'delete from "Plat.form".spans where "select" = \'t0\'',
    "update \"Plat.form\".spans set org = 'beta' where \"select\" = 't1'",
)
#: The same changes, in the names of a host at 094.
_TWIN_CHANGES: Final = (
    "update runs set estimated_cost_usd = 900, duration_ms = 5 where id = 'run-39'",
    "update runs set tenant_id = 'beta' where id = 'run-40'",
    "delete from aos_traces where trace_id = 't0'",
    "update aos_traces set tenant_id = 'beta' where trace_id = 't1'",
)
_HOUR: Final = timedelta(hours=1)


@pytest.fixture
def mapped(empty_database: str) -> Iterator[Engine]:
    """Yield an engine on a migrated, captured host with names of its own."""
    engine = connect(empty_database)
    with engine.begin() as conn:
        conn.exec_driver_sql(DDL.replace("%", "%%"))
    ensure_roles(empty_database)
    runner.upgrade(empty_database, mapping=MAPPING)
    capture.install(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def twin(engine: Engine) -> Engine:
    """Return an engine on our own tables, captured."""
    capture.install(engine)
    return engine


def run(number: int, **values: Any) -> dict[str, Any]:  # noqa: ANN401  # any column's value
    """Return a run that a mapped host can hold as well."""
    return {
        "run_id": f"run-{number}",
        "tenant_id": "acme",
        "agent_id": f"agent-{number % 2}",
        "state": "COMPLETED",
        "status": "succeeded",
        "started_at": AS_OF - _HOUR,
        "completed_at": AS_OF - _HOUR / 2,
        "duration_ms": 100,
        "risk_level": "NORMAL",
        "latency_bucket": "OK",
        "evidence_health": "FLOWING",
        "incident_count": 0,
        "policy_violation": False,
        "is_synthetic": False,
        "estimated_cost_usd": number / 8,
        **values,
    }


def steps(trace: str, count: int, **values: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # any column's value
    same = {"skill_id": "search", "skill_name": "Search", "status": "succeeded", "outcome_category": "SUCCESS"}
    numbers = {"duration_ms": 9000, "retry_count": 2, "cost_cents": 0, "timestamp": AS_OF}
    return [{"trace_id": trace, "step_index": index, **same, **numbers, **values} for index in range(count)]


def rows() -> dict[str, list[dict[str, Any]]]:
    """Return rows that all three signals find something in."""
    old = {"started_at": AS_OF - 72 * _HOUR, "completed_at": AS_OF - 71 * _HOUR}
    runs = [run(number, **old) for number in range(1, 30)] + [run(number) for number in range(30, 39)]
    runs += [
        run(39, started_at=AS_OF - timedelta(minutes=81)),
        run(40, state="LIVE", completed_at=None, risk_level="VIOLATED", last_seen_at=AS_OF),
        run(41, tenant_id="beta", latency_bucket="STALLED", incident_count=2, agent_id=None),
    ]
    traces = [
        {"trace_id": f"t{n}", "run_id": f"run-{30 + n}", "tenant_id": "acme", "started_at": AS_OF - _HOUR}
        for n in range(3)
    ]
    return {"runs": runs, "aos_traces": traces, "aos_trace_steps": [s for n in range(3) for s in steps(f"t{n}", 3 + n)]}


def publish(engine: Engine, now: datetime) -> list[str]:
    """Refresh every signal as of `now`, hold it against a full recompute, and return the methods that were used."""
    methods: list[str] = []
    for signal in SIGNALS.values():
        with engine.begin() as conn:
            context = RefreshContext(signal, SETTINGS, 1, now, draw_fence(conn)[1])
            methods.append(refresh_batch(conn, context).method)
        with engine.connect() as conn:
            assert_published_equals_staged(conn, signal, now)
    return methods


def published(engine: Engine) -> list[Sequence[Any]]:
    """Return every answer and item, without what differs by chance."""
    answers = select(snapshot.c.tenant_id, snapshot.c.signal, snapshot.c.content, snapshot.c.as_of).order_by(
        "tenant_id", "signal"
    )
    with engine.connect() as conn:
        return [conn.execute(answers).all(), *(_items(conn, table) for table in ITEMS.values())]


def _items(conn: Connection, table: Table) -> Sequence[Any]:
    return sorted(map(str, conn.execute(select(table)).all()))


def test_every_answer_is_that_of_the_twin_in_full_and_incrementally(mapped: Engine, twin: Engine) -> None:
    for engine in (mapped, twin):
        with engine.begin() as conn:
            store(conn, rows())
        publish(engine, AS_OF)
    first = published(mapped), published(twin)
    for engine, changes in ((mapped, _MAPPED_CHANGES), (twin, _TWIN_CHANGES)):
        with engine.begin() as conn:
            for statement in changes:
                conn.exec_driver_sql(statement)
    late = {
        "runs": [run(50, state="LIVE", completed_at=None, risk_level="AT_RISK")],
        "aos_trace_steps": [{**step, "step_index": 20} for step in steps("t2", 1)],
    }
    methods = []
    for engine in (mapped, twin):
        with engine.begin() as conn:
            store(conn, late)
        methods.append(publish(engine, AS_OF + timedelta(minutes=1)))

    assert first[0] == first[1]
    assert methods == [["incremental"] * 3] * 2
    assert published(mapped) == published(twin)
    assert published(mapped) != first[0]
    assert all(published(mapped))
