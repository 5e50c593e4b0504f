"""Lines that can be stored and should not go unremarked, and a load that is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ingest.files.load_rows import load_rows
from snapshots import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

HEADER = "run_id,tenant_id,status\n"
#: Each table's rows but for what the server draws anew.
_CONTENT = {
    "runs": "select md5(string_agg((to_jsonb(runs) - 'created_at')::text, ';' order by id)) from runs",
    "aos_traces": "select md5(string_agg((to_jsonb(t) - '{id,created_at}'::text[])::text, ';' order by trace_id))"
    " from aos_traces as t",
    "aos_trace_steps": "select md5(string_agg((to_jsonb(s) - 'id')::text, ';' order by trace_id, step_index))"
    " from aos_trace_steps as s",
}


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    engine = database.connect(fresh_database)
    yield engine
    engine.dispose()


def tenants(engine: Engine, table: str = "runs", key: str = "id") -> list[tuple[Any, ...]]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(f"select {key}, tenant_id from {table} order by 1"))]  # noqa: S608  # our names


def content(engine: Engine) -> list[str | None]:
    with engine.connect() as conn:
        return [conn.execute(text(query)).scalar_one() for query in _CONTENT.values()]


def test_a_line_that_would_move_a_run_to_another_tenant_is_refused(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(HEADER + "r1,acme,running\nr2,acme,running\nr3,,running\n")
    load_rows(engine, tmp_path)
    (tmp_path / "runs.csv").write_text(HEADER + "r1,beta,failed\nr2,,failed\nr3,beta,failed\n")

    report = load_rows(engine, tmp_path)

    assert report.problems == [
        "runs.csv:2: tenant_id: expected 'acme', whose 'r1' is, got 'beta'; nothing moves to another tenant",
        "runs.csv:3: tenant_id: expected 'acme', whose 'r2' is, got NULL; nothing moves to another tenant",
    ]
    assert (report.tables["runs"].updated, report.tables["runs"].skipped) == (1, 2)
    assert tenants(engine) == [("r1", "acme"), ("r2", "acme"), ("r3", "beta")]


def test_of_two_lines_that_name_two_tenants_the_first_decides(engine: Engine, tmp_path: Path) -> None:
    lines = [
        {"run_id": "r1", "tenant_id": "acme"},
        {"run_id": "r1", "status": "failed"},
        {"run_id": "r1", "tenant_id": "b"},
    ]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "aos_traces.csv").write_text("trace_id,run_id,tenant_id\nt1,r1,acme\nt1,r1,beta\n")

    report = load_rows(engine, tmp_path)

    assert [problem.partition(": ")[0] for problem in report.problems] == ["runs.jsonl:3", "aos_traces.csv:3"]
    assert tenants(engine) == [("r1", "acme")]
    assert tenants(engine, "aos_traces", "trace_id") == [("t1", "acme")]


def test_many_moves_are_counted_and_a_few_are_named(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(HEADER + "".join(f"r{n},acme,x\n" for n in range(100)))
    load_rows(engine, tmp_path)
    (tmp_path / "runs.csv").write_text(HEADER + "".join(f"r{n},beta,x\n" for n in range(100)) + "new,beta,x\n")

    report = load_rows(engine, tmp_path)

    assert (report.skipped, len(report.problems), report.tables["runs"].inserted) == (100, 20, 1)


def test_what_is_stored_and_remarkable_is_counted_by_kind(engine: Engine, tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"tenant_id": "acme", "started_at": "2026-01-17T11:00:00Z", "state": "LIVE"},
        {"tenant_id": "acme", "started_at": "2026-01-17T11:00:00", "completed_at": "2026-01-17 12:00"},
        {"tenant_id": "acme", "started_at": "2026-01-17T11:00:00+02:00", "risk_level": "HIGH"},
        {"tenant_id": None, "state": "done", "risk_level": "high"},
        {"goal": "nobody's"},
    ]
    lines = (json.dumps({"run_id": f"r{number}", **record}) for number, record in enumerate(records))
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))

    report = load_rows(engine, tmp_path)

    assert report.remarks == [
        "runs: 2 without a tenant, and so in no answer",
        "runs: 1 with a state that no rule knows (not LIVE, COMPLETED)",
        "runs: 2 with a risk_level that no rule knows (not NORMAL, NEAR_THRESHOLD, AT_RISK, VIOLATED)",
        "runs: 1 with a time without a zone, taken as UTC",
    ]
    assert report.problems == []
    assert "note: runs: 2 without a tenant, and so in no answer" in report.as_text()


def test_an_update_that_names_no_tenant_is_unremarkable(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(HEADER + "r1,acme,running\n")
    load_rows(engine, tmp_path)
    (tmp_path / "runs.csv").write_text("run_id,status\nr1,failed\n")

    assert load_rows(engine, tmp_path).remarks == []
    assert tenants(engine) == [("r1", "acme")]


def write_many(folder: Path) -> None:
    """Write enough rows that a load can be killed in the middle of each table."""
    count = 2000
    runs = (f"r{n},acme,succeeded,2026-01-17T11:00:{n % 60:02}Z,{n / 100}\n" for n in range(count))
    (folder / "runs.csv").write_text("run_id,tenant_id,status,started_at,estimated_cost_usd\n" + "".join(runs))
    traces = (f"t{n},r{n},acme,2026-01-17T11:00:00Z\n" for n in range(count))
    (folder / "aos_traces.csv").write_text("trace_id,run_id,tenant_id,started_at\n" + "".join(traces))
    steps = (f"t{n // 3},{n % 3},search,{n},2026-01-17T11:00:00Z\n" for n in range(3 * count))
    (folder / "aos_trace_steps.csv").write_text("trace_id,step_index,skill_id,duration_ms,timestamp\n" + "".join(steps))


def kill_at(url: str, folder: Path, moment: str) -> None:
    """Run the command and kill it without a word once it says that it does `moment`."""
    command = [sys.executable, "-m", "ops.cli", "load", str(folder)]
    environment = {"ACTIVITY_DATABASE_URL": url, "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(moment):
                process.kill()
                break
        process.wait()
        assert process.returncode == -9, "it was over before it was killed"


def test_a_load_that_is_killed_leaves_nothing_and_the_next_one_ends_equal(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    write_many(tmp_path)
    killed, undisturbed = (database.connect(new_database()) for _ in range(2))
    load_rows(undisturbed, tmp_path)

    for moment in ("storing runs", "storing aos_trace_steps"):
        kill_at(killed.url.render_as_string(hide_password=False), tmp_path, moment)
        assert content(killed) == [None, None, None]
    report = load_rows(killed, tmp_path)

    assert [table.inserted for table in report.tables.values()] == [2000, 2000, 6000]
    assert content(killed) == content(undisturbed)
    assert load_rows(killed, tmp_path).tables["aos_trace_steps"].unchanged == 6000
    killed.dispose()
    undisturbed.dispose()
