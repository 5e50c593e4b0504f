"""Loading files: what they may look like, and what becomes of their rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ingest.files.load_rows import load_rows, store
from ingest.files.report import LoadError
from ops.cli import main
from snapshots import database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

RUNS = "run_id,tenant_id,status,started_at,estimated_cost_usd\n"
RECORDED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    engine = database.connect(fresh_database)
    yield engine
    engine.dispose()


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(query))]


def scalar(engine: Engine, query: str) -> object:
    return rows(engine, query)[0][0]


def write_trace(folder: Path, steps: int = 3) -> None:
    (folder / "aos_traces.csv").write_text("trace_id,run_id,tenant_id\nt1,r1,acme\n")
    lines = "".join(f"t1,{index},search,{index * 10}\n" for index in range(steps))
    (folder / "aos_trace_steps.csv").write_text("trace_id,step_index,skill_id,duration_ms\n" + lines)


def test_a_folder_loads_its_three_tables(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(RUNS + "r1,acme,succeeded,2026-01-17T11:00:00Z,0.25\n")
    write_trace(tmp_path)
    (tmp_path / "labels.json").write_text("not ours")

    report = load_rows(engine, tmp_path)

    assert {name: table.inserted for name, table in report.tables.items()} == {
        "runs": 1,
        "aos_traces": 1,
        "aos_trace_steps": 3,
    }
    assert report.files == 3
    assert report.problems == []


def test_csv_and_jsonl_and_gzip_give_the_same_rows(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(RUNS + "r1,acme,succeeded,2026-01-17T11:00:00Z,0.25\n")
    load_rows(engine, tmp_path)
    (tmp_path / "runs.csv").unlink()
    record = {"run_id": "r1", "tenant_id": "acme", "status": "succeeded", "started_at": "2026-01-17T12:00:00+01:00"}
    (tmp_path / "runs.jsonl.gz").write_bytes(gzip.compress(json.dumps(record | {"estimated_cost_usd": 0.25}).encode()))

    report = load_rows(engine, tmp_path)

    assert report.tables["runs"].unchanged == 1


def test_an_empty_field_is_null_and_an_absent_column_takes_the_default(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id,risk_level\nr1,\n")
    (tmp_path / "runs.jsonl").write_text('{"run_id": "r2", "latency_bucket": null}\n{"run_id": "r3", "goal": ""}\n')

    load_rows(engine, tmp_path)

    found = rows(engine, "select id, risk_level, latency_bucket, state, goal from runs order by id")
    assert found == [
        ("r1", None, "OK", "LIVE", None),
        ("r2", "NORMAL", None, "LIVE", None),
        ("r3", "NORMAL", "OK", "LIVE", ""),
    ]


def test_provenance_is_ignored(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("x_dataset,run_id,x_note\nnab,r1,whatever\n")

    assert load_rows(engine, tmp_path).tables["runs"].inserted == 1


def test_loading_twice_writes_nothing(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(RUNS + "r1,acme,succeeded,2026-01-17T11:00:00Z,0.25\n")
    write_trace(tmp_path)
    load_rows(engine, tmp_path)
    versions = "select xmin::text, ctid::text from {} order by 2"
    tables = ("runs", "aos_traces", "aos_trace_steps")
    before = [rows(engine, versions.format(table)) for table in tables]

    report = load_rows(engine, tmp_path)

    assert [rows(engine, versions.format(table)) for table in tables] == before
    assert [(table.inserted, table.updated, table.unchanged) for table in report.tables.values()] == [
        (0, 0, 1),
        (0, 0, 1),
        (0, 0, 3),
    ]


def test_a_row_that_differs_is_updated_and_keeps_what_the_file_does_not_name(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id,goal,status\nr1,answer,running\n")
    load_rows(engine, tmp_path)
    (tmp_path / "runs.csv").write_text("run_id,status\nr1,succeeded\n")

    report = load_rows(engine, tmp_path)

    assert report.tables["runs"].updated == 1
    assert rows(engine, "select goal, status from runs")[0] == ("answer", "succeeded")


def test_of_two_lines_with_one_key_the_later_wins(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id,status\nr1,running\nr2,running\nr1,succeeded\n")

    report = load_rows(engine, tmp_path)

    assert scalar(engine, "select status from runs where id = 'r1'") == "succeeded"
    assert (report.tables["runs"].inserted, report.tables["runs"].superseded) == (2, 1)


def test_lines_with_one_key_and_other_fields_add_up_in_their_order(engine: Engine, tmp_path: Path) -> None:
    lines = (
        {"run_id": "r1", "status": "running", "goal": "first"},
        {"run_id": "r1", "status": "failed"},
        {"run_id": "r1", "goal": "second"},
    )
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, lines)))

    load_rows(engine, tmp_path)

    assert rows(engine, "select status, goal from runs")[0] == ("failed", "second")


def test_odd_characters_arrive_as_they_are(engine: Engine, tmp_path: Path) -> None:
    goal = 'tab\t, "quotes", back\\slash \\N, ü 漢\n\\.\r\nend'
    (tmp_path / "runs.jsonl").write_text(json.dumps({"run_id": "r1", "goal": goal}))

    load_rows(engine, tmp_path)

    assert scalar(engine, "select goal from runs") == goal


def test_a_csv_field_may_span_lines_and_a_byte_order_mark_is_none_of_it(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_bytes(b'\xef\xbb\xbfrun_id,goal\r\nr1,"two\r\nlines"\r\n\r\nr2,one\r\n')

    assert load_rows(engine, tmp_path).tables["runs"].inserted == 2
    assert scalar(engine, "select goal from runs where id = 'r1'") == "two\r\nlines"


def test_a_timestamp_without_a_zone_is_utc(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id,started_at\nr1,2026-01-17T11:00:00\n")

    load_rows(engine, tmp_path)

    assert str(scalar(engine, "select started_at from runs")) == "2026-01-17 11:00:00+00:00"


def test_json_columns_take_documents(engine: Engine, tmp_path: Path) -> None:
    record = {"trace_id": "t1", "run_id": "r1", "tenant_id": "acme", "plan": {"steps": [1, 2.5]}}
    (tmp_path / "aos_traces.jsonl").write_text(json.dumps(record))

    load_rows(engine, tmp_path)

    assert scalar(engine, "select plan from aos_traces") == {"steps": [1, 2.5]}


def test_many_batches_load_completely(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id\n" + "".join(f"r{number}\n" for number in range(12_001)))

    assert load_rows(engine, tmp_path).tables["runs"].inserted == 12_001


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded runs are not beside this checkout")
def test_the_recorded_runs_load_as_they_are(engine: Engine) -> None:
    report = load_rows(engine, RECORDED)

    assert report.problems == []
    assert {name: table.inserted for name, table in report.tables.items()} == {
        "runs": 8749,
        "aos_traces": 2572,
        "aos_trace_steps": 15519,
    }
    assert load_rows(engine, RECORDED).tables["aos_trace_steps"].unchanged == 15519


def test_nothing_to_load_is_an_error(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")

    with pytest.raises(
        LoadError, match=r"holds nothing to load; expected runs, aos_traces, aos_trace_steps as \.jsonl"
    ):
        load_rows(engine, tmp_path)
    with pytest.raises(LoadError, match="does not exist"):
        load_rows(engine, tmp_path / "absent")


def test_several_paths_are_loaded_together_and_each_file_is_named(engine: Engine, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "runs.csv").write_text(f"run_id,input_tokens\n{name},1\nbad,x\n")
    alone = tmp_path / "aos_traces.csv"
    alone.write_text("trace_id,run_id,tenant_id\nt,one,acme\n")

    report = load_rows(engine, alone, tmp_path / "one", tmp_path / "two", tmp_path / "one" / "runs.csv")

    assert (report.files, report.tables["runs"].inserted, report.tables["aos_traces"].inserted) == (3, 2, 1)
    assert [problem.partition(": ")[0] for problem in report.problems] == [
        f"{tmp_path}/one/runs.csv:3",
        f"{tmp_path}/two/runs.csv:3",
    ]
    with pytest.raises(LoadError, match="absent: does not exist"):
        load_rows(engine, alone, tmp_path / "absent")


def test_a_database_without_the_tables_is_an_error(empty_database: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id\nr1\n")

    with pytest.raises(LoadError, match="run `activity migrate`"):
        load_rows(empty_database, tmp_path)


def test_rows_from_memory_go_the_same_way(conn: Connection) -> None:
    report = store(conn, {"runs": [{"run_id": "r1", "goal": "answer"}, {"run_id": "r2"}]})

    assert report["runs"].inserted == 2
    with pytest.raises(LoadError, match="runs: input_tokens: expected integer, got 'many'"):
        store(conn, {"runs": [{"run_id": "r3", "input_tokens": "many"}]})


def test_the_command_reports_and_says_whether_all_rows_were_good(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    (tmp_path / "runs.csv").write_text("run_id,input_tokens\nr1,1\n" + "r,bad\n" * 30)

    with pytest.raises(SystemExit) as ended:
        main(["load", str(tmp_path / "runs.csv"), str(tmp_path)])

    output = capsys.readouterr()
    assert ended.value.code == 1
    assert "runs: 1 inserted, 0 updated, 0 unchanged, 30 skipped" in output.out
    assert "/runs.csv:3: input_tokens: expected integer, got 'bad'" in output.err
    assert "... and 10 more bad lines" in output.err


def test_the_command_names_what_is_missing(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)

    with pytest.raises(SystemExit) as ended:
        main(["load", str(tmp_path / "absent")])

    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("activity: ")
