"""Loading into a host's own schema: its types, its NOT NULL columns, and its triggers that keep trace content."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ingest.files.load_rows import load_rows
from ops.local.demo.feed import tick
from ops.local.demo.loading import load_demo
from snapshots import database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

HOST = Path(__file__).parents[1] / "host_094.sql"


@pytest.fixture
def host(empty_database: str) -> Iterator[Engine]:
    engine = database.connect(empty_database)
    with engine.begin() as conn:
        conn.exec_driver_sql(HOST.read_text().replace("%", "%%"))
    yield engine
    engine.dispose()


def write_trace(folder: Path, agent: str = "a", duration: int = 5) -> None:
    (folder / "aos_traces.csv").write_text(f"trace_id,run_id,tenant_id,agent_id\nt1,r1,acme,{agent}\n")
    header = "trace_id,step_index,skill_id,skill_name,status,outcome_category,duration_ms\n"
    (folder / "aos_trace_steps.csv").write_text(f"{header}t1,0,s,S,succeeded,SUCCESS,{duration}\n")


def test_a_column_that_the_host_requires_is_missed_by_name(host: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id,status\nr1,succeeded\n")

    report = load_rows(host, tmp_path)

    expected = "runs.csv:1: agent_id, goal: missing; runs requires a value; nothing of this file was read"
    assert report.problems == [expected]


def test_a_null_that_the_host_excludes_is_reported(host: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id,agent_id,goal,status,risk_level\nr1,a,g,ok,\nr2,a,g,ok,NORMAL\n")

    report = load_rows(host, tmp_path)

    assert report.problems == ["runs.csv:2: risk_level: expected a value, got NULL"]
    assert report.tables["runs"].inserted == 1


def test_an_instant_with_an_offset_becomes_naive_utc(host: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id,agent_id,goal,status,started_at\nr1,a,g,ok,2026-01-17T13:00:00+02:00\n")

    load_rows(host, tmp_path)

    with host.connect() as conn:
        assert str(conn.execute(text("select started_at from runs")).scalar()) == "2026-01-17 11:00:00"


def test_a_number_that_the_host_cannot_hold_is_reported(host: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id,agent_id,goal,status,estimated_cost_usd\nr1,a,g,ok,12345678\n")

    report = load_rows(host, tmp_path)

    assert report.problems == ["runs.csv:2: run_id 'r1': the database refuses the row: numeric field overflow"]


def test_a_cost_that_the_host_rounds_is_unchanged_when_loaded_again(host: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id,agent_id,goal,status,estimated_cost_usd\nr1,a,g,ok,0.123456789\n")
    load_rows(host, tmp_path)

    assert load_rows(host, tmp_path).tables["runs"].unchanged == 1


def test_trace_content_loads_twice_though_the_host_forbids_changes(host: Engine, tmp_path: Path) -> None:
    write_trace(tmp_path)
    load_rows(host, tmp_path)

    report = load_rows(host, tmp_path)

    assert report.problems == []
    assert report.tables["aos_trace_steps"].unchanged == 1


def test_a_change_that_the_host_forbids_names_the_row(host: Engine, tmp_path: Path) -> None:
    write_trace(tmp_path)
    load_rows(host, tmp_path)
    write_trace(tmp_path, agent="b", duration=6)

    report = load_rows(host, tmp_path)

    refusal = "the database refuses the row: trace content is immutable"
    assert report.problems == [
        f"aos_traces.csv:2: trace_id 't1': {refusal}",
        f"aos_trace_steps.csv:2: trace_id 't1', step_index '0': {refusal}",
    ]


def test_the_demo_loads_into_a_host_and_goes_on_there(host: Engine) -> None:
    as_of = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)
    load_demo(host, as_of)
    load_demo(host, as_of)

    with host.begin() as conn:
        done = tick(conn, as_of + timedelta(minutes=5), Random(1))  # noqa: S311  # a story, not a secret

    assert done.completed > 0
    assert done.under_way > 0
