"""Exports of Langfuse and Phoenix, through `activity load`: the fixtures follow their public formats."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ingest.exports.load_spans import SpanLoadOptions, load_spans
from ingest.prices import Prices, read_prices
from tests.ingest.spans import TENANT

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest.exports.load_spans import SpanReport

FILES = Path(__file__).parent / "files"
LANGFUSE_TRACE = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


def load(engine: Engine, path: Path, format_: str) -> SpanReport:
    return load_spans(engine, path, SpanLoadOptions(TENANT, format_, Prices(read_prices(FILES / "prices.toml"))))


def runs(engine: Engine) -> dict[str, tuple[Any, ...]]:
    wanted = "id, state, status, agent_id, estimated_cost_usd, input_tokens, duration_ms"
    with engine.connect() as conn:
        return {row[0]: tuple(row[1:]) for row in conn.execute(text(f"select {wanted} from public.runs"))}  # noqa: S608  # ours


def steps(engine: Engine, trace_id: str) -> list[tuple[Any, ...]]:
    wanted = "skill_id, status, cost_cents, duration_ms"
    statement = f"select {wanted} from public.aos_trace_steps where trace_id = :trace_id order by step_index"  # noqa: S608  # ours
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(statement), {"trace_id": trace_id})]


def test_observations_of_langfuse_become_runs_and_steps(engine: Engine) -> None:
    report = load(engine, FILES / "langfuse", "langfuse")

    assert (report.skipped, report.kept, report.written.traces) == (0, 12, 2)
    assert runs(engine) == {
        LANGFUSE_TRACE: ("COMPLETED", "succeeded", "support-agent", Decimal("0.0140"), 4000, 9000),
        "8f14e45fceea467fa0e67d2f4f9d1b2c": ("COMPLETED", "succeeded", "nightly-report", Decimal("0.01"), 500, 4500),
    }
    found = steps(engine, LANGFUSE_TRACE)
    assert found[:4] == [
        ("chat gpt-4o", "succeeded", 0.35, 500),
        ("lookup_order", "succeeded", None, 300),
        ("chat gpt-4o", "succeeded", 0.35, 500),
        ("lookup_order", "failed", None, 300),
    ]
    assert len(found) == 8


def test_a_table_that_langfuse_exported_gives_the_same(engine: Engine, tmp_path: Path) -> None:
    lines = (FILES / "langfuse" / "observations.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    names = sorted({name for record in records for name in record})
    with (tmp_path / "observations.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for record in records:
            writer.writerow({k: json.dumps(v) if isinstance(v, dict) else v for k, v in record.items()})

    report = load(engine, tmp_path, "langfuse")

    assert (report.skipped, report.kept) == (0, 9)
    assert len(steps(engine, LANGFUSE_TRACE)) == 8
    assert load(engine, FILES / "langfuse" / "observations.jsonl", "langfuse").kept == 0


def test_spans_of_phoenix_become_runs_and_steps(engine: Engine) -> None:
    report = load(engine, FILES / "phoenix", "phoenix")

    assert (report.skipped, report.kept, report.written.traces) == (0, 10, 2)
    first, second = "1a2b3c4d5e6f708192a3b4c5d6e7f809", "2b3c4d5e6f708192a3b4c5d6e7f8091a"
    assert runs(engine)[first] == ("COMPLETED", "succeeded", "research", Decimal("0.0075"), 2400, 9000)
    assert [step[0] for step in steps(engine, first)] == ["chat gpt-4o", "search_web"] * 3
    assert runs(engine)[second][:3] == ("COMPLETED", "succeeded", "planner")
    assert [step[:2] for step in steps(engine, second)] == [("retrieve", "failed"), ("chat gpt-4o", "succeeded")]


@pytest.mark.parametrize("format_", ["langfuse", "phoenix"])
def test_what_is_no_record_is_reported_by_line(engine: Engine, tmp_path: Path, format_: str) -> None:
    (tmp_path / "bad.jsonl").write_text('7\n{\n{"id": "x"}\n\n[[]]\n')

    report = load(engine, tmp_path, format_)

    assert [problem.split(": ")[0] for problem in report.problems] == [f"bad.jsonl:{line}" for line in (1, 2, 3, 5)]
    assert report.kept == 0


def test_an_export_that_is_too_large_for_one_document_is_refused(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.exports.reading.MAX_DOCUMENT", 100)
    (tmp_path / "large.json").write_text("[\n" + " " * 200 + "\n]")

    assert "write a record to a line" in load(engine, tmp_path, "phoenix").problems[0]
