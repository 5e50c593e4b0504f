"""Lines that cannot be loaded: each is named with its file, line and field, and harms no other."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ingest.files.load_rows import load_rows
from ingest.files.reading import MAX_LINE
from snapshots import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from ingest.files.report import LoadReport

    Loader = Callable[[str, str | bytes], LoadReport]

RUN = {"run_id": "good"}


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Return an engine on a shared database; loads of this file are strict, so that nothing stays."""
    engine = database.connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def loaded(engine: Engine, tmp_path: Path) -> Loader:
    """Return a function that loads one file and leaves nothing behind: a bad line is in each."""

    def load_file(name: str, content: str | bytes) -> LoadReport:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        report = load_rows(engine, tmp_path, strict=True)
        assert not report.is_stored
        return report

    return load_file


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("input_tokens", "abc", "input_tokens: expected integer, got 'abc'"),
        ("input_tokens", "1.5", "input_tokens: expected integer, got '1.5'"),
        ("input_tokens", "1_000", "input_tokens: expected integer, got '1_000'"),
        ("input_tokens", "3000000000", "input_tokens: expected integer of 32 bits, got '3000000000'"),
        ("duration_ms", "12ms", "duration_ms: expected number, got '12ms'"),
        ("estimated_cost_usd", "$1", "estimated_cost_usd: expected number, got '$1'"),
        ("policy_violation", "maybe", "policy_violation: expected true or false, got 'maybe'"),
        ("started_at", "yesterday", "started_at: expected timestamp like 2026-01-17T12:00:00Z, got 'yesterday'"),
        ("started_at", "2026-02-30T00:00:00Z", "got '2026-02-30T00:00:00Z'"),
        ("state", "x" * 21, "state: expected at most 20 characters, got 'xxxxxxxxxxxxxxxxxxxxx'"),
        ("goal", "a\0b", "goal: expected text without NUL characters, got 'a\\x00b'"),
        ("is_synthetic", "", "is_synthetic: expected a value, got NULL"),
        ("input_tokens", "9" * 60, f"input_tokens: expected integer, got '{'9' * 40}'..."),
    ],
)
def test_a_bad_value_is_named(loaded: Loader, name: str, value: str, problem: str) -> None:
    report = loaded(
        "runs.csv", f"run_id,{name}\ngood,\nbad,{value}\n".replace("good,\n", "" if not value else "good,1\n")
    )

    bad = [found for found in report.problems if found.endswith(problem)]
    assert len(bad) == 1
    assert bad[0].startswith(f"runs.csv:{3 if value else 2}: ")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"input_tokens": True}, "input_tokens: expected integer, got 'True'"),
        ({"input_tokens": 1.5}, "input_tokens: expected integer, got '1.5'"),
        ({"goal": 7}, "goal: expected text, got '7'"),
        ({"goal": ["a"]}, "goal: expected text, got \"['a']\""),
        ({"policy_violation": 1}, "policy_violation: expected true or false, got '1'"),
        ({"started_at": 1768650000}, "started_at: expected timestamp like 2026-01-17T12:00:00Z, got '1768650000'"),
        ({"run_id": None}, "run_id: expected a value, got NULL"),
        ({"id": "r1"}, "id: unknown field; the key of runs is named run_id in files"),
        ({"cost": 1}, "cost: unknown field; expected columns of runs, or provenance named x_*"),
        ({"goal": "\ud800"}, "goal: expected text that UTF-8 can hold, got '\\ud800'"),
        (
            {"input_tokens": "a", "output_tokens": "b"},
            "input_tokens: expected integer, got 'a'; output_tokens: expected integer, got 'b'",
        ),
    ],
)
def test_a_bad_json_field_is_named(loaded: Loader, fields: dict[str, object], problem: str) -> None:
    report = loaded("runs.jsonl", json.dumps(RUN) + "\n" + json.dumps({"run_id": "bad", **fields}) + "\n")

    assert report.problems == [f"runs.jsonl:2: {problem}"]
    assert (report.tables["runs"].inserted, report.tables["runs"].skipped) == (1, 1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"run_id": "a"', "broken JSON: Expecting ',' delimiter"),
        (b"[1]", "expected a JSON object"),
        (b'{"run_id": "a", "goal": "\xff"}', "not UTF-8"),
        (b'{"run_id": "a", "duration_ms": NaN}', "broken JSON: NaN is no JSON"),
        (b'{"run_id": "a", "run_id": "b"}', "broken JSON: run_id: named twice"),
        (b'{"duration_ms": 1}', "run_id: missing; runs requires a value"),
        (b'{"run_id": "a", "duration_ms": 1e999}', "duration_ms: expected number, got 'inf'"),
        (b'{"run_id": ' + b"[" * 100_000, "broken JSON: nested too deeply"),
        (b'{"run_id": "a", "input_tokens": ' + b"9" * 5000 + b"}", "broken JSON: Exceeds the limit"),
    ],
)
def test_a_broken_json_line_is_reported_and_the_next_one_is_read(loaded: Loader, line: bytes, problem: str) -> None:
    report = loaded("runs.jsonl", line + b'\n\n{"run_id": "good"}\n')

    assert len(report.problems) == 1
    assert report.problems[0].startswith(f"runs.jsonl:1: {problem}")
    assert report.tables["runs"].inserted == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"a", "expected 2 columns, got 1"),
        (b"a,b,c", "expected 2 columns, got 3"),
        (b"\xff,b", "not UTF-8"),
        (b'"a"b,c', "broken CSV: ',' expected after '\"'"),
    ],
)
def test_a_broken_csv_line_is_reported_and_the_next_one_is_read(loaded: Loader, line: bytes, problem: str) -> None:
    report = loaded("runs.csv", b"run_id,goal\n" + line + b"\ngood,answer\n")

    assert report.problems == [f"runs.csv:2: {problem}"]
    assert report.tables["runs"].inserted == 1


def test_a_quote_that_never_closes_is_reported_where_it_opens(loaded: Loader) -> None:
    report = loaded("runs.csv", 'run_id,goal\ngood,answer\nbad,"open\nlost,lost\n')

    assert report.problems == ["runs.csv:3: broken CSV: unexpected end of data"]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("run_id,cost", "cost: unknown field; expected columns of runs, or provenance named x_*"),
        ("id", "id: unknown field; the key of runs is named run_id in files"),
        ("run_id,goal,goal", "goal: named twice"),
        ("goal", "run_id: missing; runs requires a value"),
        ("run_id,", "(empty): unknown field; expected columns of runs, or provenance named x_*"),
        ("", "expected a header line of column names"),
    ],
)
def test_a_bad_header_keeps_the_file_out(loaded: Loader, header: str, problem: str) -> None:
    report = loaded("runs.csv", f"{header}\na,b\n" if header else "")

    assert report.problems == [f"runs.csv:1: {problem}; nothing of this file was read"]


def test_a_step_without_its_trace_is_reported(loaded: Loader) -> None:
    report = loaded("aos_trace_steps.csv", "trace_id,step_index\nnowhere,0\nnowhere,1\n")

    assert report.problems[0] == "aos_trace_steps.csv:2: trace_id: expected a trace that exists, got 'nowhere'"
    assert report.tables["aos_trace_steps"].skipped == 2


def test_a_gzip_file_that_is_cut_off_is_reported(loaded: Loader) -> None:
    whole = gzip.compress(b"run_id\n" + b"".join(b"r%d\n" % number for number in range(50_000)))

    report = loaded("runs.csv.gz", whole[: len(whole) // 2])

    assert len(report.problems) == 1
    assert "the gzip stream is damaged or cut off" in report.problems[0]
    assert report.tables["runs"].inserted > 0


def test_a_file_that_is_no_gzip_is_reported(loaded: Loader) -> None:
    report = loaded("runs.csv.gz", "run_id\nr1\n")

    assert report.problems[0].startswith("runs.csv.gz:1: the gzip stream is damaged or cut off")


def test_a_line_without_end_stops_its_file(loaded: Loader) -> None:
    report = loaded("runs.jsonl", b'{"run_id": "good"}\n' + b" " * (MAX_LINE + 1))

    assert report.problems == [f"runs.jsonl:2: line longer than {MAX_LINE} bytes"]


def test_what_only_the_server_can_refuse_is_reported_by_line(loaded: Loader) -> None:
    record = {"trace_id": "t1", "run_id": "r1", "tenant_id": "acme"}
    lines = [record, record | {"trace_id": "t2", "plan": {"a": "\0"}}, record | {"trace_id": "t3"}]

    report = loaded("aos_traces.jsonl", "\n".join(map(json.dumps, lines)))

    assert len(report.problems) == 1
    assert report.problems[0].startswith("aos_traces.jsonl:2: trace_id 't2': the database refuses the row: ")
    assert (report.tables["aos_traces"].inserted, report.tables["aos_traces"].skipped) == (2, 1)


def test_strict_keeps_every_file_out(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id\nstrict-1\n")
    (tmp_path / "aos_traces.csv").write_text("trace_id,run_id,tenant_id\nt1,strict-1,\n")

    report = load_rows(engine, tmp_path, strict=True)

    with engine.connect() as conn:
        assert conn.execute(text("select count(*) from runs where id = 'strict-1'")).scalar() == 0
    assert report.problems == ["aos_traces.csv:2: tenant_id: expected a value, got NULL"]
    assert report.as_text() == "nothing was loaded: 1 of 2 lines are bad, and --strict was given"


def test_strict_loads_files_without_a_bad_line(fresh_database: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run_id\nr1\n")

    assert load_rows(fresh_database, tmp_path, strict=True).is_stored
