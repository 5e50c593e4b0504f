"""Legal numbers at every extreme: no query fails, no tenant is quarantined, every other agent's numbers stay."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select, text

from api.queries.explain.cost import live, now_says
from ingest.files.values import check_of, text_of
from ingest.spans import amount
from migrations import capture
from snapshots import settings
from snapshots.database import connect
from snapshots.host import Found, Source
from snapshots.host_mapping import Place
from snapshots.host_sources import TABLES
from snapshots.signals import SIGNALS
from snapshots.source import TENANT_SETTING
from snapshots.tables import quarantine
from tests.factories import AS_OF, insert_run, insert_step, insert_trace
from worker.engine.compute import preview
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from sqlalchemy import Connection

SETTINGS = settings.load()
COSTS = (
    "1e-400", "-1e-400", "1e-16000", "5e-324", "1e-320", "1e-308", "-1e-308", "2.3e-308", "1e-300", "1e-200", "1e-20",
    "0", "-0", "0.1234567890123456789012345678901234567890", "1e150", "-1e150", "1.0000001e150", "1e308",
    "1.7976931348623157e308", "1.8e308", "1e309", "1e400", "-1e400", "1e100000", "NaN", "Infinity", "-Infinity",
)  # fmt: skip
DURATIONS = (
    "5e-324", "1e-308", "2.3e-308", "0", "-0", "-5e-324", "4.9e-320", "1e15", "1e16", "1e150", "1e300",
    "1.7976931348623157e308", "-1.7976931348623157e308", "NaN", "Infinity", "-Infinity",
)  # fmt: skip


def _plant(conn: Connection, cost: str) -> None:
    """Plant an agent with an ordinary past and one extreme cost in either window, and another agent."""
    for agent, costs in {"extreme": (cost, "1", "2", "1"), "only": (cost,) * 4, "plain": ("1", "2", "3", "4")}.items():
        for window, past in (("baseline", timedelta(days=2)), ("current", timedelta(hours=2))):
            for number, each in enumerate(costs):
                insert_run(
                    conn,
                    id=f"{agent}-{window}-{number}",
                    agent_id=agent,
                    started_at=AS_OF - past,
                    completed_at=AS_OF - past + timedelta(minutes=number),
                    estimated_cost_usd=text(f"cast('{each}' as numeric)"),
                    risk_level="AT_RISK",
                )


def _plant_steps(conn: Connection) -> None:
    """Plant a trace for each extreme duration: steps of one skill that are repeated, retried and slow."""
    for number, duration in enumerate(DURATIONS):
        insert_trace(conn, trace_id=f"trace-{number}", run_id=f"run-{number}", started_at=AS_OF - timedelta(hours=1))
        for index in range(4):
            extreme = text(f"cast('{duration}' as double precision)")
            measured = {"duration_ms": extreme, "cost_cents": extreme, "retry_count": 2}
            insert_step(conn, f"trace-{number}", index, skill_id=f"skill-{number}", **measured)


def _bodies(conn: Connection) -> dict[str, dict[str, Any]]:
    return {name: json.loads(preview(conn, name, "acme", SETTINGS, AS_OF)) for name in SIGNALS}


@pytest.mark.parametrize("cost", COSTS)
def test_a_cost_of_any_size_breaks_no_signal(conn: Connection, cost: str) -> None:
    _plant(conn, cost)

    bodies = _bodies(conn)

    agents = {agent["agent_id"]: agent for agent in bodies["cost"]["agents"]}
    assert agents["plain"]["current_cost_usd"] == agents["plain"]["baseline_avg_usd"] == 2.5
    is_counted = -1e150 <= float(cost) <= 1e150
    assert ("only" in agents) == is_counted
    assert bodies["cost"]["data_quality"]["non_finite_costs"] == (0 if is_counted else 10)


def test_durations_of_any_size_break_no_signal(conn: Connection) -> None:
    _plant_steps(conn)

    patterns = _bodies(conn)["patterns"]

    assert patterns["data_quality"]["non_finite_durations"] == 3 * 4
    assert {entry["pattern_type"] for entry in patterns["patterns"]} >= {"retry_loop", "timeout_cascade"}


def test_refreshes_publish_extreme_numbers_without_drift_or_quarantine(fresh_database: str) -> None:
    engine = connect(fresh_database)
    capture.install(engine)
    with engine.begin() as conn:
        for number, cost in enumerate(COSTS):
            extreme = {"agent_id": f"agent-{number}", "started_at": func.now(), "completed_at": func.now()}
            insert_run(conn, **extreme, estimated_cost_usd=text(f"cast('{cost}' as numeric)"))
            past = {"started_at": func.now() - timedelta(days=2), "completed_at": func.now() - timedelta(days=2)}
            for _ in range(6):
                insert_run(conn, agent_id=f"agent-{number}", **past, estimated_cost_usd=number)
    for signal in SIGNALS:
        refresh(engine, signal, SETTINGS)
        with engine.begin() as conn:
            conn.execute(
                text("update public.runs set estimated_cost_usd = -estimated_cost_usd, risk_level = 'VIOLATED'")
            )
        again = [refresh(engine, signal, SETTINGS, mode=mode) for mode in ("tick", "reconcile")]
        assert [(each.drift, each.tenants_failed) for each in again if each is not None] == [(None, 0), (0, 0)]
    with engine.connect() as conn:
        assert conn.execute(select(quarantine)).all() == []
    engine.dispose()


@pytest.mark.parametrize("cost", COSTS)
def test_explaining_an_agent_with_a_cost_of_any_size(conn: Connection, cost: str) -> None:
    _plant(conn, cost)
    conn.execute(select(func.set_config(TENANT_SETTING, "acme", True)))  # noqa: FBT003  # set_config's own third position

    row = conn.execute(live("acme", {"agent_id": "extreme"}, [], {"exclude_synthetic": True}, AS_OF)).one()

    assert row.run_count == (4 if -1e150 <= float(cost) <= 1e150 else 3)
    assert now_says(row)["run_count"] == row.run_count


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1e-400", 0.0),
        ("-1e-400", 0.0),
        ("1e400", "Infinity"),
        ("-1e400", "-Infinity"),
        ("NaN", "Infinity"),
        ("4.5", 4.5),
    ],
)
def test_a_view_reads_a_numeric_column_of_any_size(conn: Connection, value: str, expected: float | str) -> None:
    place = Place("public", "aos_trace_steps", {})
    source = Source(TABLES["aos_trace_steps"], place, Found("r", {"duration_ms": "numeric"}))
    read = source.converted("duration_ms")

    found = conn.execute(text(f"select {read} from (select cast('{value}' as numeric) as duration_ms) as t"))  # noqa: S608  # built of constants

    assert found.scalar_one() == float(expected)


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("float8", "1e-400", "0"),
        ("float4", "1e-60", "0"),
        ("float8", "Infinity", "Infinity"),
        ("numeric", "1e-400", "1e-400"),
    ],
)
def test_a_file_may_hold_a_number_too_small_for_its_column(kind: str, value: str, stored: str) -> None:
    assert check_of(kind, None)(value) == stored


@pytest.mark.parametrize(("kind", "value"), [("float8", "1e400"), ("float8", "-1e400"), ("float4", "1e39")])
def test_a_number_too_large_for_its_column_is_named(kind: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"number from -\S+ to "):
        check_of(kind, None)(value)


def test_an_integer_of_hundreds_of_digits_is_no_amount() -> None:
    assert amount(10**400) is None
    assert text_of("numeric", 10**400) == str(10**400)
