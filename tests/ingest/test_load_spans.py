"""Files of OTLP requests through `activity load`: what is written, what is refused, and that twice is once."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ingest.exports.load_spans import SpanLoadOptions, load_spans
from ingest.files.report import LoadError
from ingest.prices import Price, Prices
from tests.factories import insert_run
from tests.ingest.spans import START, TENANT, TRACE, agent, chat, request, span, span_id, tool, write

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from ingest.exports.load_spans import SpanReport

PRICES = Prices([Price("gpt-4o", Decimal("2.5"), Decimal(10))])


def load(engine: Engine, path: Path, tenant: str = TENANT, *, strict: bool = False) -> SpanReport:
    return load_spans(engine, path, SpanLoadOptions(tenant, prices=PRICES, strict=strict))


def rows(engine: Engine, statement: str) -> list[dict[str, Any]]:
    with engine.connect() as conn:
        return [dict(row) for row in conn.execute(text(statement)).mappings()]


def everything(engine: Engine) -> list[list[dict[str, Any]]]:
    """Return every row that a load can change, as text."""
    tables = {"runs": "id", "aos_traces": "trace_id", "aos_trace_steps": "trace_id, step_index"}
    return [rows(engine, f"select {name}::text from public.{name} order by {key}") for name, key in tables.items()]  # noqa: S608  # ours


@pytest.fixture
def path(tmp_path: Path) -> Path:
    first = request(
        chat(2, 0), tool(3, "search", 200, values={"error.type": "timeout"}), resource={"service.name": "x"}
    )
    return write(tmp_path / "spans.jsonl", first, request(tool(4, "search", 400), agent()))


def test_a_trace_becomes_a_run_a_trace_and_steps(engine: Engine, path: Path) -> None:
    report = load(engine, path)

    assert (report.kept, report.skipped, report.written.traces, report.written.steps) == (4, 0, 1, 3)
    [run] = rows(engine, "select * from public.runs")
    assert {name: run[name] for name in ("id", "tenant_id", "agent_id", "state", "status", "source", "goal")} == {
        "id": TRACE,
        "tenant_id": TENANT,
        "agent_id": "planner",
        "state": "COMPLETED",
        "status": "succeeded",
        "source": "sdk",
        "goal": "invoke_agent planner",
    }
    assert (run["started_at"], run["completed_at"]) == (START, START + timedelta(seconds=10))
    assert (run["duration_ms"], run["provider_type"]) == (10_000, "openai")
    assert (run["input_tokens"], run["output_tokens"], run["estimated_cost_usd"]) == (1000, 100, Decimal("0.0035"))
    [trace] = rows(engine, "select * from public.aos_traces")
    assert (trace["trace_id"], trace["run_id"], trace["tenant_id"], trace["started_at"]) == (
        TRACE,
        TRACE,
        TENANT,
        START,
    )
    wanted = "step_index, skill_id, status, outcome_category, outcome_code, cost_cents, duration_ms, retry_count"
    found = rows(engine, f"select {wanted} from public.aos_trace_steps order by step_index")  # noqa: S608  # ours
    assert [tuple(step.values()) for step in found] == [
        (0, "chat gpt-4o", "succeeded", "SUCCESS", None, 0.35, 100, 0),
        (1, "search", "failed", "FAILURE", "timeout", None, 100, 0),
        (2, "search", "succeeded", "SUCCESS", None, None, 100, 0),
    ]


def test_loading_the_same_file_twice_changes_nothing(engine: Engine, path: Path) -> None:
    load(engine, path)
    before = everything(engine)

    report = load(engine, path)

    assert (report.kept, report.known, report.written.traces) == (0, 4, 0)
    assert everything(engine) == before


def test_what_comes_later_is_appended_and_marked(engine: Engine, path: Path, tmp_path: Path) -> None:
    load(engine, path)
    steps = everything(engine)[2]

    report = load(engine, write(tmp_path / "late.jsonl", request(tool(5, "early_bird", 50))))

    assert (report.written.traces, report.written.late) == (1, 1)
    after = everything(engine)[2]
    assert after[:3] == steps
    [late] = rows(engine, "select step_index, is_late from signals.ingested_span where span_id = '0000000000000005'")
    assert late == {"step_index": 3, "is_late": True}
    [run] = rows(engine, "select evidence_health, risk_level from public.runs")
    assert run == {"evidence_health": "DEGRADED", "risk_level": "NEAR_THRESHOLD"}


def test_the_order_of_spans_in_files_does_not_matter(engine: Engine, tmp_path: Path, path: Path) -> None:
    load(engine, path)
    expected = everything(engine)[2]
    other = TRACE[::-1]
    spans = [agent(), tool(4, "search", 400), tool(3, "search", 200, values={"error.type": "timeout"}), chat(2, 0)]
    requests = [request({**each, "traceId": other}) for each in spans]

    load(engine, write(tmp_path / "reversed.jsonl", *requests))

    found = rows(engine, f"select skill_id from public.aos_trace_steps where trace_id = '{other}' order by step_index")  # noqa: S608  # ours
    assert [each["skill_id"] for each in found] == ["chat gpt-4o", "search", "search"]
    assert len(expected) == 3


def test_a_run_whose_root_never_came_is_live(engine: Engine, tmp_path: Path) -> None:
    load(engine, write(tmp_path / "rootless.jsonl", request(tool(3, "search"))))

    [run] = rows(
        engine, "select state, status, agent_id, completed_at, latency_bucket, evidence_health from public.runs"
    )
    assert tuple(run.values()) == ("LIVE", "running", "shop", None, "STALLED", "DEGRADED")


def test_retries_below_a_step_count_for_it(engine: Engine, tmp_path: Path) -> None:
    sent = [span(4 + n, "POST", n, parentSpanId=span_id(3), values={"http.request.resend_count": n}) for n in (1, 2)]

    load(engine, write(tmp_path / "retries.jsonl", request(agent(), chat(3), *sent)))

    [step] = rows(engine, "select skill_id, retry_count from public.aos_trace_steps")
    assert step == {"skill_id": "chat gpt-4o", "retry_count": 2}


def test_a_model_without_a_price_has_no_cost_and_is_counted(engine: Engine, tmp_path: Path) -> None:
    report = load(engine, write(tmp_path / "unpriced.jsonl", request(agent(), chat(2), chat(3, model="secret-model"))))

    assert report.written.unpriced == 1
    assert "1 model calls without a price" in report.as_text()
    [run] = rows(engine, "select estimated_cost_usd, input_tokens from public.runs")
    assert run == {"estimated_cost_usd": None, "input_tokens": 2000}
    costs = rows(engine, "select cost_cents from public.aos_trace_steps order by step_index")
    assert [each["cost_cents"] for each in costs] == [0.35, None]


def test_a_bad_line_is_reported_and_the_others_load(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "mixed.json"
    good, zero = json.dumps(request(agent())), json.dumps(request(tool(2, "x", spanId="0" * 16)))
    lines = [good, "{", zero, '{"resourceMetrics": []}', '{"resourceSpans": [7]}']
    file.write_text("\n".join(lines))

    report = load(engine, file)

    assert report.skipped == 4
    assert report.problems[0].startswith("mixed.json:2: broken JSON")
    assert report.problems[1:] == [
        "mixed.json:3: span 1: spanId: expected 8 bytes that are not all zero",
        "mixed.json:4: resourceSpans: missing; expected an ExportTraceServiceRequest",
        "mixed.json:5: resourceSpans: expected a JSON object",
    ]
    assert len(rows(engine, "select id from public.runs")) == 1


@pytest.mark.parametrize(
    "content",
    [
        "notes\n" * 30,
        json.dumps({"data": [{"id": 1}]}),
        json.dumps(request(agent()), indent=2),
        '[{"resourceSpans": []}]',
    ],
    ids=["text", "an export", "a document over lines", "a list"],
)
def test_a_file_that_is_no_otlp_is_one_problem_that_says_what_was_expected(
    engine: Engine, tmp_path: Path, content: str
) -> None:
    (tmp_path / "other.json").write_text(content)

    report = load(engine, tmp_path)

    assert report.skipped == 1
    assert report.problems[0].startswith("other.json:1: ")
    assert "nothing in this file is OTLP: expected a request in JSON on each line" in report.problems[0]


def test_lines_before_the_first_request_are_reported_each(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "late.jsonl").write_text("x\n" * 1003 + json.dumps(request(agent())))

    report = load(engine, tmp_path)

    assert (report.skipped, report.kept) == (1003, 1)


def test_several_paths_are_one_load(engine: Engine, tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", request(agent()))
    (tmp_path / "more").mkdir()
    two = write(tmp_path / "more" / "one.jsonl", request(tool(2, "search")), {"resourceSpans": 7})

    report = load_spans(engine, [one, two, one], SpanLoadOptions(TENANT, prices=PRICES))

    assert (report.files, report.kept, report.written.traces) == (2, 2, 1)
    assert report.problems == [f"{two}:2: resourceSpans: expected a JSON array"]


def test_with_strict_one_bad_line_keeps_everything_out(engine: Engine, tmp_path: Path) -> None:
    file = write(tmp_path / "strict.jsonl", request(agent()), {"resourceSpans": 7})

    report = load(engine, file, strict=True)

    assert not report.is_stored
    assert everything(engine) == [[], [], []]
    assert rows(engine, "select * from signals.ingested_span") == []


def test_a_gzipped_file_that_is_cut_off_is_reported(engine: Engine, tmp_path: Path) -> None:
    whole = gzip.compress((json.dumps(request(agent())) + "\n").encode() * 50)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])

    report = load(engine, tmp_path)

    assert "the gzip stream is damaged or cut off" in report.problems[0]


def test_another_tenants_trace_is_neither_added_to_nor_shown(engine: Engine, path: Path) -> None:
    load(engine, path)
    before = everything(engine)

    report = load(engine, path, tenant="globex")

    assert (report.kept, report.skipped) == (0, 4)
    assert "traceId: in use" in report.problems[0]
    assert TENANT not in "".join(report.problems)
    assert everything(engine) == before


def test_a_run_of_the_hosts_own_is_left_alone(engine: Engine, path: Path) -> None:
    with engine.begin() as conn:
        insert_run(conn, id=TRACE, agent_id="the-hosts")

    report = load(engine, path)

    assert report.skipped == 4
    assert [each["agent_id"] for each in rows(engine, "select agent_id from public.runs")] == ["the-hosts"]
    assert rows(engine, "select * from public.aos_traces") == []


@pytest.mark.usefixtures("path")
def test_a_trace_that_the_host_refuses_is_left_out_whole(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as conn:
        conn.execute(text("alter table public.aos_trace_steps add check (skill_id <> 'forbidden')"))
    other = TRACE[::-1]
    spans = [{**each, "traceId": other} for each in (agent(), tool(2, "fine"), tool(3, "forbidden", 10))]
    write(tmp_path / "refused.jsonl", request(*spans))

    report = load(engine, tmp_path)

    assert [each["id"] for each in rows(engine, "select id from public.runs")] == [TRACE]
    assert report.skipped == 1
    assert report.problems[0].startswith(f"trace {other}")
    assert "violates check constraint" in report.problems[0]
    [trace] = rows(engine, f"select problem, pending from signals.ingested_trace where trace_id = '{other}'")  # noqa: S608  # ours
    assert trace["pending"] == 0
    assert "violates check constraint" in trace["problem"]


def test_nothing_to_load_is_an_error(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="holds nothing to load"):
        load(engine, tmp_path)
