"""The mapping of a host's names: refused where it cannot be, kept where it can, and nothing of it left behind."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url, text

from api.auth import isolation
from api.queries.reader import Reader
from migrations import capture, runner
from migrations.roles import ensure_roles
from ops.adoption.leaving import attach, detach
from ops.adoption.uninstalling import uninstall
from ops.commands.attach import attach as attach_command
from ops.commands.migrate import migrate as migrate_command
from ops.plans import census
from snapshots import host_mapping
from snapshots.errors import ActivityError, SchemaMismatchError
from snapshots.host_mapping import MappingError
from snapshots.signals import READER_ROLE
from snapshots.tables import SCHEMA
from tests.mapped import DDL, DOCUMENT, MAPPING
from tests.migrations.catalog import describe
from worker.engine import change_queue
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

_HOST = '"Plat.form"'


@pytest.fixture
def bare(empty_database: str, owner: Callable[[str], Engine]) -> str:
    """Return the owner's URL of a host with names of its own, without our schema; the roles exist."""
    with owner(empty_database).begin() as conn:
        conn.exec_driver_sql(DDL.replace("%", "%%"))
    ensure_roles(empty_database)
    return empty_database


def changed(table: str, **columns: object) -> dict[str, Any]:
    """Return the document with some columns of a table said otherwise."""
    document: dict[str, Any] = copy.deepcopy(dict(DOCUMENT))
    document[table]["columns"] |= columns
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"run": {}}, "run: unknown; expected one of runs, aos_traces, aos_trace_steps"),
        ({"runs": []}, "runs: expected a table"),
        ({"runs": {"name": "x"}}, "runs.name: unknown; expected one of schema, table, columns"),
        ({"runs": {"table": ""}}, "runs.table: expected a name of 1 to 63 bytes"),
        ({"runs": {"columns": {"cost": "x"}}}, "runs.columns.cost: unknown"),
        ({"runs": {"columns": {"state": 1}}}, "runs.columns.state: expected a name, "),
        ({"runs": {"columns": {"state": {"absent": False}}}}, "runs.columns.state: expected a name, "),
        ({"runs": {"columns": {"id": {"absent": True}}}}, "runs.columns.id: cannot be absent"),
        ({"runs": {"columns": {"id": {"constant": "r"}}}}, "runs.columns.id: cannot be one value for every row"),
        ({"runs": {"columns": {"started_at": {"constant": "2026"}}}}, "cannot be one value"),
        ({"runs": {"columns": {"tenant_id": {"constant": ""}}}}, "tenant_id: expected text that is not empty"),
        ({"runs": {"columns": {"incident_count": {"constant": True}}}}, "expected a constant of type integer"),
        ({"runs": {"table": "aos_traces"}}, "two source tables are one table of the host"),
    ],
)
def test_what_cannot_be_is_named(document: dict[str, Any], message: str) -> None:
    with pytest.raises(MappingError, match=message.replace(".", r"\.")):
        host_mapping.parse(document)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("[runs")

    for path, message in ((tmp_path / "m.toml", "no TOML"), (tmp_path / "absent.toml", "cannot be read")):
        with pytest.raises(MappingError, match=rf"{path.name}: {message}"):
            host_mapping.load(path)


def test_names_and_types_that_the_host_lacks_are_listed_and_nothing_is_kept(bare: str) -> None:
    wrong = changed("runs", status="nowhere", started_at="took", id="phase")

    with pytest.raises(SchemaMismatchError) as caught:
        runner.upgrade(bare, mapping=host_mapping.parse(wrong))

    said = str(caught.value)
    assert 'the host has no column nowhere of "Plat.form"."agent ""Executions"""' in said
    assert "runs.started_at: column took" in said
    assert "is of type int4, expected timestamp or timestamptz; map the table to a view of yours that casts it" in said
    assert "runs.id: column phase" in said
    assert runner.current(bare) is None


def test_a_mapped_host_is_left_as_it_was(bare: str, owner: Callable[[str], Engine]) -> None:
    before = describe(bare, _HOST), describe(bare)
    runner.upgrade(bare, mapping=MAPPING)
    capture.install(owner(bare))
    during = describe(bare, _HOST)

    uninstall(make_url(bare))

    assert before[0] < during
    assert (describe(bare, _HOST), describe(bare)) == before


def test_only_the_indexes_that_serve_are_built(bare: str, owner: Callable[[str], Engine]) -> None:
    runner.upgrade(bare, mapping=MAPPING)

    with owner(bare).connect() as conn:
        names = set(conn.execute(text("select indexname from pg_indexes where schemaname = 'Plat.form'")).scalars())
        definition = conn.execute(
            text("select indexdef from pg_indexes where indexname = 'ix_signals_runs_backwards'")
        ).scalar_one()
    assert "ix_signals_runs_completed" in names
    assert "ix_signals_runs_started" not in names, "the host's own one serves"
    assert "idx_runs_tenant_state_started" not in names, "the state is cast"
    assert "idx_runs_tenant_source" not in names, "the source is one value"
    assert '("org:name", "{{new_row.id}}", "from") INCLUDE ("to", "100%s cost", is_synthetic)' in definition


def test_what_was_detached_is_attached_exactly_as_it_was(bare: str, owner: Callable[[str], Engine]) -> None:
    runner.upgrade(bare, mapping=MAPPING)
    capture.install(owner(bare))
    before = describe(bare, _HOST), describe(bare, SCHEMA)
    detach(make_url(bare))
    with owner(bare).begin() as conn:
        conn.exec_driver_sql('drop index "Plat.form".ix_signals_runs_completed')

    attach(make_url(bare))

    assert (describe(bare, _HOST), describe(bare, SCHEMA)) == before
    assert capture.is_installed(owner(bare))


def test_a_host_that_renamed_a_table_meanwhile_is_attached_under_its_new_name(
    bare: str, owner: Callable[[str], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", bare)
    runner.upgrade(bare, mapping=MAPPING)
    capture.install(owner(bare))
    detach(make_url(bare))
    with owner(bare).begin() as conn:
        conn.exec_driver_sql('alter table "Plat.form".spans rename to traces')
    document = tmp_path / "names.toml"
    document.write_text(_toml({**DOCUMENT, "aos_traces": {**DOCUMENT["aos_traces"], "table": "traces"}}))

    without, with_it = (
        CliRunner().invoke(attach_command),
        CliRunner().invoke(attach_command, ["--mapping", str(document)]),
    )

    assert 'the host has no table "Plat.form"."spans"' in str(without.exception)
    assert with_it.output.startswith("attached; changes of runs, aos_traces, aos_trace_steps are captured")
    with owner(bare).connect() as conn:
        assert change_queue.fingerprint(conn, SIGNALS["patterns"]) is not None


def test_another_mapping_over_views_that_are_there_is_refused(
    bare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", bare)
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(_toml(DOCUMENT))
    second.write_text(_toml(changed("runs", source={"constant": "sdk"})))
    run = CliRunner().invoke

    results = [run(migrate_command, list(arguments)) for arguments in (("--mapping", str(first)),) * 2 + ((),)]
    refused = run(migrate_command, ["--mapping", str(second)])

    assert [result.exit_code for result in results] == [0, 0, 0]
    assert isinstance(refused.exception, SchemaMismatchError)
    assert "`activity attach --mapping FILE` replaces it" in str(refused.exception)


def test_a_view_of_the_host_s_is_read_and_cannot_be_captured(bare: str, owner: Callable[[str], Engine]) -> None:
    with owner(bare).begin() as conn:
        conn.exec_driver_sql(
            'create view shown as select cast("select" as text) as trace_id, exec, org, at from "Plat.form".spans'
        )
        conn.exec_driver_sql("insert into \"Plat.form\".spans values ('t', 'r', 'acme', '2026-01-17T12:00:00Z')")
    document = changed("runs")
    document["aos_traces"] = {"table": "shown", "columns": {"run_id": "exec", "tenant_id": "org", "started_at": "at"}}

    runner.upgrade(bare, mapping=host_mapping.parse(document))

    with owner(bare).connect() as conn:
        found = conn.execute(text("select trace_id, run_id, tenant_id, is_synthetic from signals.source_trace")).all()
        assert [tuple(row) for row in found] == [("t", "r", "acme", False)]
        assert change_queue.fingerprint(conn, SIGNALS["patterns"]) is None
    with pytest.raises(ActivityError, match='"shown": is no table'):
        capture.install(owner(bare))


def test_a_reader_who_may_read_a_mapped_table_is_found_out(
    bare: str, owner: Callable[[str], Engine], open_as: Callable[[str, str], Engine]
) -> None:
    runner.upgrade(bare, mapping=MAPPING)
    reader = Reader(open_as(READER_ROLE, bare), 5000)
    isolation.check(reader)
    with owner(bare).begin() as conn:
        conn.exec_driver_sql('grant select on "Plat.form".spans to activity_reader')

    with pytest.raises(isolation.IsolationError, match=r"may read Plat\.form\.spans"):
        isolation.check(reader)


def test_plans_are_judged_by_the_host_s_own_tables(bare: str, owner: Callable[[str], Engine]) -> None:
    runner.upgrade(bare, mapping=MAPPING)

    with owner(bare).connect() as conn:
        assert census.take(conn).sources == {'agent "Executions"', "spans", "steps;\n\n"}


def _toml(document: dict[str, Any]) -> str:
    """Return a document as TOML: JSON's strings, numbers and booleans are TOML's."""
    lines = []
    for table, place in document.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(place[key])}" for key in ("schema", "table") if key in place)]
        lines.append(f"[{table}.columns]")
        for name, one in place["columns"].items():
            inner = one if isinstance(one, str) else None
            shown = (
                json.dumps(inner)
                if inner
                else "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in one.items()) + " }"
            )
            lines.append(f"{name} = {shown}")
    return "\n".join(lines)
