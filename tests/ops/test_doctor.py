"""The doctor: what it finds on hosts that are well, ill, or named otherwise, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ingest.files.load_rows import store
from migrations import runner
from migrations.roles import ensure_roles
from ops.adoption.doctor import sampling
from ops.adoption.doctor.contract import CONTRACT
from ops.adoption.doctor.diagnosing import diagnose, visit
from ops.adoption.doctor.proposing import likeness, propose
from ops.commands.doctor import doctor
from snapshots import host_mapping as mappings
from snapshots import host_sources
from snapshots.database import connect
from tests.mapped import DDL, MAPPING
from tests.worker.test_mapped_host import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from ops.adoption.doctor.findings import Diagnosis
    from tests.postgres import Server

HOST = Path(__file__).parents[1] / "host_094.sql"
DOCUMENT = Path(__file__).parents[2] / "docs" / "writer-contract.md"


@pytest.fixture
def host(empty_database: str) -> Iterator[Engine]:
    """Yield an engine on a host at 094 with some rows, without our schema."""
    engine = connect(empty_database)
    fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def shared_host(server: Server) -> Iterator[Engine]:
    """Yield an engine on such a host for tests that roll back."""
    url = server.create_empty_database()
    engine = connect(url)
    fill(engine)
    yield engine
    engine.dispose()
    server.drop_database(url)


def fill(engine: Engine) -> None:
    """Make an empty database a host at 094 with some rows."""
    with engine.begin() as conn:
        conn.exec_driver_sql(HOST.read_text().replace("%", "%%"))
        some = rows()
        store(
            conn, {**some, "runs": [{**run, "goal": "g", "agent_id": run["agent_id"] or "a"} for run in some["runs"]]}
        )


def visited(engine: Engine) -> Diagnosis:
    with visit(engine.url) as conn:
        return diagnose(conn)


def found(engine: Engine, name: str) -> list[tuple[str, str]]:
    return [(each.level, each.found) for each in visited(engine).findings if each.id == name]


def change(engine: Engine, *statements: str) -> None:
    with engine.begin() as conn:
        for statement in statements:
            conn.exec_driver_sql(statement.replace("%", "%%"))


def test_every_column_that_we_read_is_in_one_line_of_the_contract() -> None:
    listed = [(line.table, column) for line in CONTRACT for column in line.columns]

    assert len(listed) == len(set(listed))
    assert set(listed) == {(table.name, column) for table in host_sources.TABLES.values() for column in table.columns}
    assert len({line.id for line in CONTRACT}) == len(CONTRACT)


def test_the_document_says_what_the_contract_says() -> None:
    lines = [
        f"| `{line.id}` | {', '.join(f'`{name}`' for name in line.columns)} | {line.needed_by} | {line.written}"
        f" | {line.if_empty} |"
        for line in CONTRACT
    ]

    assert [row for row in DOCUMENT.read_text().splitlines() if row.startswith("| `")] == lines


def test_a_host_that_writes_all_it_should_is_well_before_and_after_our_schema(host: Engine) -> None:
    before = visited(host)
    url = host.url.render_as_string(hide_password=False)
    ensure_roles(url)
    runner.upgrade(url)
    change(host, "analyze")

    after = visited(host)

    assert (before.level, before.exit_code) == ("note", 0), before.as_text()
    assert (after.level, after.exit_code) == ("note", 0), after.as_text()
    assert ("note", "not installed") in [(each.level, each.found) for each in before.findings]
    assert ("ok", f"at {runner.head()}") in [(each.level, each.found) for each in after.findings]
    assert ("ok", "every index that the queries need is there") in found(host, "indexes")


@pytest.mark.parametrize(
    ("statement", "name", "level", "words"),
    [
        ("update runs set state = 'LIVE'", "runs.completion", "suspicious", "no run of the sample is COMPLETED"),
        (
            "update runs set state = 'done' where id = 'run-3'",
            "runs.completion",
            "suspicious",
            "1 of 41 rows: state is",
        ),
        ("update runs set completed_at = null", "runs.completion", "empty", "nothing in completed_at"),
        ("update runs set completed_at = started_at - interval '1 h'", "runs.completion", "suspicious", "ended before"),
        ("update runs set started_at = now() + interval '2 h'", "runs.start", "blocked", "in the future"),
        ("update runs set estimated_cost_usd = null", "runs.cost", "empty", "nothing in estimated_cost_usd"),
        ("update runs set estimated_cost_usd = -1 where id = 'run-3'", "runs.cost", "suspicious", "is negative"),
        (
            "update runs set tenant_id = null where id = 'run-3'",
            "runs.identity",
            "suspicious",
            "1 of 41 rows: the tenant",
        ),
        ("update runs set tenant_id = null", "runs.identity", "blocked", "41 of 41 rows"),
        ("update runs set risk_level = 'HIGH'", "runs.risk", "suspicious", "is none of NORMAL, NEAR_THRESHOLD"),
        ("update runs set input_tokens = null", "runs.shown", "note", "nothing in"),
        ("delete from runs where id = 'run-31'", "traces.runs", "suspicious", "1 of 3 traces name a run that is not"),
        ("truncate runs", "runs.rows", "empty", "all 0 rows"),
        (
            "alter table runs enable row level security, force row level security",
            "runs.policies",
            "suspicious",
            "applies",
        ),
        (
            "alter table runs drop column risk_level cascade",
            "runs.columns",
            "blocked",
            "no column risk_level of public.runs",
        ),
        (
            "drop view v_runs_o2; alter table runs alter column started_at type text",
            "runs.types",
            "blocked",
            "type text",
        ),
        ("create table part () inherits (runs)", "runs.capture", "note", "is partitioned or inherited from"),
    ],
)
def test_what_is_wrong_is_found_and_named(
    shared_host: Engine, statement: str, name: str, level: str, words: str
) -> None:
    with shared_host.connect() as conn:
        for each in statement.split("; "):
            conn.exec_driver_sql(each)
        diagnosis = diagnose(conn)
        conn.rollback()

    mine = [(each.level, each.found) for each in diagnosis.findings if each.id == name]
    assert [each for each in mine if each[0] == level and words in each[1]], diagnosis.as_text()


def test_a_missing_index_comes_with_the_statement_that_builds_it(host: Engine) -> None:
    url = host.url.render_as_string(hide_password=False)
    ensure_roles(url)
    runner.upgrade(url)
    change(host, "drop index ix_signals_runs_started", "analyze")

    (finding,) = [each for each in visited(host).findings if each.id == "indexes"]

    assert finding.level == "suspicious"
    assert finding.commands == ("CREATE INDEX CONCURRENTLY ix_signals_runs_started ON public.runs (started_at)",)
    with host.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        conn.execute(text(finding.commands[0]))
    assert found(host, "indexes") == [("ok", "every index that the queries need is there")]


def test_a_role_with_rights_that_it_should_not_have_is_named(host: Engine) -> None:
    url = host.url.render_as_string(hide_password=False)
    ensure_roles(url)
    change(host, "grant select on runs to activity_reader")

    assert found(host, "roles.activity_reader") == [("suspicious", "may read public.runs")]


def test_the_role_that_brings_traces_in_is_not_told_to_give_back_what_it_needs(host: Engine) -> None:
    ensure_roles(host.url.render_as_string(hide_password=False))
    change(host, "grant select on runs to activity_ingest")

    assert [level for level, _ in found(host, "roles.activity_ingest")] == ["ok"]


def test_nothing_is_changed_and_nobody_is_waited_for(host: Engine) -> None:
    with visit(host.url) as conn, pytest.raises(DBAPIError, match="read-only transaction"):
        conn.exec_driver_sql("delete from runs")
    with host.connect() as holder:
        holder.exec_driver_sql("lock table runs in access exclusive mode")

        levels = {each.id: each for each in visited(host).findings}

    assert "lock timeout" in levels["rows"].found
    assert levels["server.version"].level == "ok"


def test_of_a_large_table_some_blocks_are_read(host: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    change(
        host,
        "insert into runs (id, agent_id, goal, status)"
        " select n, 'a', repeat('g', 500), 's' from generate_series(1, 3000) n",
        "analyze runs",
    )
    monkeypatch.setattr(sampling, "BLOCKS", 20)

    ((level, words),) = found(host, "runs.rows")

    looked_at = int(words.partition("looked at ")[2].partition(" rows of about 3,041")[0])
    assert level == "ok"
    assert 0 < looked_at < 1500


def test_a_mapped_host_is_looked_at_under_its_own_names(empty_database: str) -> None:
    engine = connect(empty_database)
    change(engine, DDL)
    with visit(engine.url) as conn:
        unmapped, mapped = diagnose(conn), diagnose(conn, MAPPING)
    engine.dispose()

    assert ("note", "no table public.runs") in [(each.level, each.found) for each in unmapped.findings]
    assert "runs.table" not in {each.id for each in mapped.findings}
    assert any("org:name" in command for each in mapped.findings for command in each.commands)


def test_the_command_exits_as_scripts_need_it(host: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", host.url.render_as_string(hide_password=False))
    run = CliRunner().invoke
    well = run(doctor, ["--json"])
    change(host, "update runs set state = 'LIVE'")
    ill = run(doctor, [])
    change(host, "alter table runs drop column risk_level cascade")
    hopeless = run(doctor, [])

    assert [each.exit_code for each in (well, ill, hopeless)] == [0, 1, 1]
    assert json.loads(well.output)["verdict"] == "note"
    assert "suspicious runs.completion: no run of the sample is COMPLETED" in ill.output
    assert hopeless.output.rstrip().splitlines()[-1].startswith("blocked: ")
    assert run(doctor, ["--propose-mapping", str(tmp_path / "m.toml")]).exit_code == 0
    assert "exists; name a new file" in run(doctor, ["--propose-mapping", str(tmp_path / "m.toml")]).output


_PLAUSIBLE = """
create schema platform;
create table platform.executions (
    execution_id text primary key, org_id text, project text, "agentName" text, is_synthetic boolean, origin text,
    provider text, phase text, result text, start_time timestamptz, heartbeat_at timestamptz, end_time timestamptz,
    duration_ms double precision, risk_level text, latency_bucket text, evidence_health text, integrity_status text,
    incidents integer, policy_violation boolean, prompt_tokens integer, completion_tokens integer, cost_usd numeric
);
create table platform.traces (trace_id text primary key, execution_id text, org_id text, started_at timestamptz);
create table platform.steps (
    trace_id text, step_number integer, tool text, tool_name text, status text, duration_ms double precision,
    retries integer, ts timestamptz
);
create table platform.users (id text primary key, name text, created_at timestamptz)
"""


def test_a_draft_of_a_plausible_host_can_be_migrated_with(empty_database: str, tmp_path: Path) -> None:
    engine = connect(empty_database)
    change(engine, *_PLAUSIBLE.split(";\n"))
    with visit(engine.url) as conn:
        draft = propose(conn)
    (tmp_path / "m.toml").write_text(draft)
    mapping = mappings.load(tmp_path / "m.toml")
    ensure_roles(empty_database)

    runner.upgrade(empty_database, mapping=mapping)

    engine.dispose()
    runs, traces, steps = (mapping.places[name] for name in ("runs", "aos_traces", "aos_trace_steps"))
    assert [(place.schema, place.table) for place in (runs, traces, steps)] == [
        ("platform", "executions"),
        ("platform", "traces"),
        ("platform", "steps"),
    ]
    expected = {
        "id": "execution_id",
        "tenant_id": "org_id",
        "agent_id": "agentName",
        "state": "phase",
        "started_at": "start_time",
        "completed_at": "end_time",
        "estimated_cost_usd": "cost_usd",
    }
    assert runs.columns.items() >= expected.items()
    assert traces.columns["run_id"] == "execution_id"
    assert steps.columns.items() >= {"skill_id": "tool", "retry_count": "retries", "step_index": "step_number"}.items()
    assert "policy_draft_count = { absent = true }  # ?" in draft


@pytest.mark.parametrize(
    ("ours", "theirs"), [("tenant_id", "TenantId"), ("started_at", "startedAt"), ("run_id", "run-id")]
)
def test_spelling_does_not_count(ours: str, theirs: str) -> None:
    assert likeness(ours, theirs) == 1.0


def test_a_host_that_cannot_be_reached_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/nowhere")

    done = CliRunner().invoke(doctor, [])

    assert done.exit_code == 1
    assert done.output.startswith("blocked    server.reach: ")
    assert "secret" not in done.output
