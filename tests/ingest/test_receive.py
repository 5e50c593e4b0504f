"""Answers of the receiver, the spans that it keeps, and the rows of its assembler."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import event, text

from ingest.assembly import span_buffer
from ingest.otlp.answers import JSON, PROTOBUF
from ops.keys import create_key
from snapshots.signals import INGEST_CAPABILITY
from tests.ingest.receiver import Receiver, refusal_of, rejected_by
from tests.ingest.spans import TRACE, agent, body, chat, request, span, tool

if TYPE_CHECKING:
    from falcon.testing import Result

QUIET_S = 31
WAITED_S = 901


def protobuf(*spans: dict[str, object]) -> bytes:
    """Return the same request in protobuf."""
    document = request(*spans)
    for each in document["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId", "parentSpanId"):
            each[name] = base64.b64encode(bytes.fromhex(each[name])).decode()
    return json_format.ParseDict(document, ExportTraceServiceRequest()).SerializeToString()


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("media_type", [JSON, PROTOBUF, "application/json; charset=utf-8"])
def test_a_request_is_kept_in_either_encoding(receiver: Receiver, media_type: str, encoding: str) -> None:
    content = protobuf(agent(), chat(2)) if media_type == PROTOBUF else body(agent(), chat(2))

    result = receiver.post(gzip.compress(content) if encoding else content, media_type, Content_Encoding=encoding)

    assert (result.status_code, rejected_by(result)) == (200, (0, ""))
    assert result.headers["content-type"] == media_type.partition(";")[0]
    kept = receiver.rows("select payload - 'name' as payload from signals.ingested_span order by span_id")
    assert kept[1]["payload"]["skill"] == "chat gpt-4o"
    assert kept[1]["payload"]["input_tokens"] == 1000
    assert kept[0]["payload"]["is_root"]


def test_a_trace_is_written_once_it_is_quiet(receiver: Receiver) -> None:
    receiver.send(tool(2, "search"))
    receiver.send(agent())

    assert receiver.round().traces == 0
    assert receiver.round(QUIET_S).traces == 1
    assert receiver.steps() == ["search"]


def test_a_round_writes_rows_without_a_temporary_table(receiver: Receiver) -> None:
    receiver.send(agent(), tool(2, "search"), chat(3))
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement.lower())

    event.listen(receiver.assembler.engine, "before_cursor_execute", note)
    assert receiver.round(QUIET_S).traces == 1

    assert [each for each in statements if "temporary" in each or "analyze" in each or "copy" in each] == []
    writes = [each.split("(")[0].strip() for each in statements if each.startswith("insert into public")]
    assert writes == [f"insert into public.{table}" for table in ("runs", "aos_traces", "aos_trace_steps")]


def test_a_trace_whose_root_does_not_come_is_written_after_the_longest_wait(receiver: Receiver) -> None:
    receiver.send(tool(2, "search"))

    assert receiver.round(QUIET_S).traces == 0
    assert receiver.round(WAITED_S).traces == 1
    assert receiver.steps() == ["search"]
    [run] = receiver.rows("select state, evidence_health from public.runs")
    assert run == {"state": "LIVE", "evidence_health": "DEGRADED"}


def test_a_root_that_comes_late_completes_the_run(receiver: Receiver) -> None:
    receiver.send(tool(2, "search"))
    receiver.round(WAITED_S)
    receiver.send(agent())

    done = receiver.round(2 * WAITED_S)

    assert (done.traces, done.late) == (1, 1)
    [run] = receiver.rows("select state, status, agent_id, duration_ms from public.runs")
    assert tuple(run.values()) == ("COMPLETED", "succeeded", "planner", 10_000)


def test_a_run_shows_while_it_is_under_way(receiver: Receiver) -> None:
    receiver.send(tool(2, "search"))

    receiver.round()

    [run] = receiver.rows("select id, state, status from public.runs")
    assert tuple(run.values()) == (TRACE, "LIVE", "running")
    assert receiver.steps() == []


def test_a_request_sent_again_changes_nothing_before_and_after_the_writing(receiver: Receiver) -> None:
    for _ in range(2):
        assert rejected_by(receiver.send(agent(), tool(2, "search"))) == (0, "")
    receiver.round(QUIET_S)
    before = receiver.rows("select * from public.runs")

    receiver.send(agent(), tool(2, "search"))

    assert receiver.round(2 * QUIET_S).traces == 0
    assert receiver.steps() == ["search"]
    assert receiver.rows("select * from public.runs") == before


def test_a_late_span_is_appended_and_marked(receiver: Receiver) -> None:
    receiver.send(agent(), tool(3, "search", 500))
    receiver.round(QUIET_S)
    receiver.send(tool(2, "early", 100))

    done = receiver.round(3 * QUIET_S)

    assert done.late == 1
    assert receiver.steps() == ["search", "early"]
    marks = receiver.rows("select span_id, is_late, step_index from signals.ingested_span order by span_id")
    assert [(row["is_late"], row["step_index"]) for row in marks] == [(False, None), (True, 1), (False, 0)]


def test_the_tenant_is_the_keys_whatever_the_resource_says(receiver: Receiver) -> None:
    content = body(agent(), resource={"tenant_id": "globex", "tenant.id": "globex"})

    receiver.post(content)
    receiver.round(QUIET_S)

    assert [row["tenant_id"] for row in receiver.rows("select tenant_id from public.runs")] == ["acme"]


def test_a_trace_of_another_tenant_is_not_added_to(receiver: Receiver) -> None:
    receiver.send(agent())

    rejected, reason = rejected_by(receiver.send(tool(2, "intruder"), tenant="globex"))

    assert (rejected, "acme" in reason) == (1, False)
    assert "traceId: in use" in reason
    receiver.round(QUIET_S)
    assert receiver.steps() == []


OTHER = "b7ad6b7169203331b7ad6b7169203331"


def test_a_run_that_another_wrote_meanwhile_is_neither_changed_nor_judged(receiver: Receiver) -> None:
    """The trace was taken in while its id was free: whoever wrote the run since has it."""
    receiver.send(tool(2, "search"), tool(3, "search", traceId=OTHER))
    with receiver.owner.begin() as conn:
        conn.execute(
            text("insert into public.runs (id, tenant_id, status, state) values (:id, 'globex', 'running', 'LIVE')"),
            {"id": TRACE},
        )
    before = receiver.rows(f"select * from public.runs where id = '{TRACE}'")  # noqa: S608  # a constant

    receiver.round()
    receiver.send(tool(4, "search"), agent())
    receiver.round(QUIET_S)
    done = receiver.round(WAITED_S)

    assert receiver.rows(f"select * from public.runs where id = '{TRACE}'") == before  # noqa: S608  # a constant
    assert [row["id"] for row in receiver.rows("select id from public.runs where tenant_id = 'acme'")] == [OTHER]
    assert receiver.steps() == ["search"]
    assert done.problems == {}
    [trace] = receiver.rows(f"select problem, pending from signals.ingested_trace where trace_id = '{TRACE}'")  # noqa: S608  # a constant
    assert (trace["problem"], trace["pending"]) == (span_buffer.IN_USE, 0)


def test_a_run_under_way_shows_although_another_of_its_round_cannot(receiver: Receiver) -> None:
    receiver.send(tool(2, "search"), tool(3, "search", traceId=OTHER))
    with receiver.owner.begin() as conn:
        conn.execute(text("insert into public.runs (id, tenant_id) values (:id, 'globex')"), {"id": TRACE})

    receiver.round()

    assert [row["id"] for row in receiver.rows("select id from public.runs where tenant_id = 'acme'")] == [OTHER]


def test_a_trace_that_the_hosts_columns_cannot_hold_keeps_no_other_back(receiver: Receiver) -> None:
    """It is refused before the server sees it: the tenant's name is too long for the host's traces."""
    long = "t" * 65
    with receiver.owner.begin() as conn:
        receiver.tokens[long] = create_key(conn, long, capabilities=[INGEST_CAPABILITY]).token
    receiver.send(agent(), tool(2, "search"), tenant=long)
    receiver.send(agent(3, traceId=OTHER, parentSpanId=""), tool(4, "fetch", traceId=OTHER))

    done = receiver.round(QUIET_S)

    assert (done.traces, list(done.problems)) == (1, [TRACE])
    assert done.problems[TRACE].startswith("aos_traces: tenant_id: expected at most 64 characters")
    assert receiver.steps() == ["fetch"]


def test_spans_of_a_trace_that_is_forgotten_meanwhile_are_kept(receiver: Receiver) -> None:
    """Its row stood in the way of a claim, and was removed before it could be held."""
    receiver.send(tool(2, "search"))
    removed: list[str] = []

    def forget(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if "insert into signals.ingested_trace" in statement and not removed:
            removed.append(statement)
            with receiver.owner.begin() as conn:
                conn.execute(text("delete from signals.ingested_span"))
                conn.execute(text("delete from signals.ingested_trace"))

    event.listen(receiver.assembler.engine, "after_cursor_execute", forget)
    result = receiver.send(tool(3, "fetch"))

    assert (result.status_code, len(removed)) == (200, 1)
    assert rejected_by(result) == (0, "")
    assert len(receiver.rows("select * from signals.ingested_span")) == 1


def test_spans_that_cannot_be_taken_are_rejected_and_the_others_kept(receiver: Receiver) -> None:
    bad = [
        tool(2, "x", traceId="0" * 32),
        tool(3, "x", spanId="zz"),
        tool(4, "x", startTimeUnixNano="1"),
        tool(5, "x", endTimeUnixNano="1000000000000000000"),
        tool(6, "x", startTimeUnixNano="18446744073709551615"),
        {**tool(7, "x"), "attributes": 7},
        tool(8, "x", startTimeUnixNano=[]),
    ]

    rejected, reason = rejected_by(receiver.send(agent(), *bad))

    assert rejected == len(bad)
    assert "1 more reasons" in reason
    assert len(receiver.rows("select span_id from signals.ingested_span")) == 1


def test_a_trace_has_room_for_so_many_spans(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_buffer, "MAX_SPANS_PER_TRACE", 2)
    receiver.send(agent())

    rejected, _ = rejected_by(receiver.send(*(tool(n, "search") for n in (2, 3, 4))))

    assert rejected == 2
    receiver.round(QUIET_S)
    assert receiver.steps() == ["search"]
    assert [row["evidence_health"] for row in receiver.rows("select evidence_health from public.runs")] == ["DEGRADED"]


@pytest.mark.parametrize(
    ("content", "media_type", "headers", "status", "words"),
    [
        (b"{", JSON, {}, 400, "broken JSON"),
        (b"\xff", JSON, {}, 400, "not UTF-8"),
        (b"[]", JSON, {}, 400, "expected a JSON object"),
        (b"[" * 100_000, JSON, {}, 400, "broken JSON"),
        (b'{"resourceSpans": 1}', JSON, {}, 400, "expected a JSON array"),
        (b"\xff\xff", PROTOBUF, {}, 400, "expected an ExportTraceServiceRequest"),
        (b"{}", "text/plain", {}, 415, "Content-Type"),
        (b"{}", JSON, {"Content_Encoding": "br"}, 415, "Content-Encoding"),
        (b"{}", JSON, {"Content_Encoding": "gzip"}, 400, "expected a gzip stream"),
        (gzip.compress(b"{}", mtime=0)[:-4], JSON, {"Content_Encoding": "gzip"}, 400, "cut off"),
        (b" " * (1024 * 1024 + 1), JSON, {}, 413, "at most 1048576 bytes"),
        (gzip.compress(b" " * (1024 * 1024 + 1)), JSON, {"Content_Encoding": "gzip"}, 413, "at most 1048576 bytes"),
    ],
)
def test_what_is_no_request_is_refused_in_its_own_encoding(  # noqa: PLR0913, PLR0917  # a case is these five
    receiver: Receiver, content: bytes, media_type: str, headers: dict[str, str], status: int, words: str
) -> None:
    result = receiver.post(content, media_type, **headers)

    assert result.status_code == status
    assert words in refusal_of(result)
    assert receiver.rows("select * from signals.ingested_trace") == []


def test_a_bomb_is_not_unpacked(receiver: Receiver) -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = b"".join(bomb.compress(bytes(1024 * 1024)) for _ in range(200)) + bomb.flush()

    assert receiver.post(content, PROTOBUF, Content_Encoding="gzip").status_code == 413


def test_a_body_of_a_great_many_gzip_members_is_refused(receiver: Receiver) -> None:
    """Each member costs a copy of what follows it: a body of empty ones would keep a processor busy for minutes."""
    content = gzip.compress(body(agent()))

    assert receiver.post(content + gzip.compress(b"") * 20, Content_Encoding="gzip").status_code == 200
    result = receiver.post(content + gzip.compress(b"") * 10_000, Content_Encoding="gzip")

    assert result.status_code == 400
    assert "members" in refusal_of(result)


def test_only_an_ingest_key_brings_spans_in(receiver: Receiver) -> None:
    def status(token: str) -> tuple[int, str]:
        result: Result = receiver.post(body(agent()), token=token)
        return result.status_code, refusal_of(result)

    assert status("act_000000000000_" + "0" * 64)[0] == 401
    assert status(receiver.reading) == (403, "This credential lacks activity.ingest.")
    assert receiver.rows("select * from signals.ingested_span") == []


def test_a_database_that_is_away_is_told_with_the_time_to_come_back(receiver: Receiver) -> None:
    with receiver.owner.begin() as conn:
        conn.execute(text("lock table signals.ingested_trace in exclusive mode"))

        result = receiver.send(agent())

    assert (result.status_code, result.headers["retry-after"]) == (503, "2")
    assert "nothing of this request was kept" in refusal_of(result)


def test_prompts_and_answers_are_not_kept(receiver: Receiver) -> None:
    secret = "the prompt is confidential"  # noqa: S105  # what must not be found
    values = {"gen_ai.input.messages": secret, "gen_ai.tool.call.arguments": secret, "input.value": secret}
    receiver.post(body(agent(values=values), chat(2, values=values), tool(3, "search", values=values)))
    receiver.round(QUIET_S)

    for table in ("signals.ingested_span", "public.runs", "public.aos_traces", "public.aos_trace_steps"):
        assert secret not in json.dumps(receiver.rows(f"select {table.split('.')[1]}::text as row from {table}"))  # noqa: S608  # ours


def test_texts_that_the_database_cannot_hold_are_mended(receiver: Receiver) -> None:
    receiver.send(agent(name="a\0b"), tool(2, "x" * 1000), span(3, "\U0001f600" * 300))

    assert receiver.round(QUIET_S).traces == 1
    assert receiver.steps() == ["x" * 128]
    assert [row["agent_id"] for row in receiver.rows("select agent_id from public.runs")] == ["a\ufffdb"]


def test_what_nothing_came_for_in_days_is_forgotten_and_a_replay_refused(receiver: Receiver) -> None:
    receiver.send(agent(), tool(2, "search"))
    receiver.round(QUIET_S)

    receiver.round(8 * 86_400)

    assert receiver.rows("select * from signals.ingested_span") == []
    rejected, reason = rejected_by(receiver.send(agent(), tool(2, "search")))
    assert rejected == 2
    assert "in use" in reason
    assert receiver.steps() == ["search"]


def test_the_numbers_name_no_tenant(receiver: Receiver) -> None:
    receiver.send(agent(), tool(2, "search", spanId="00"))
    receiver.round(QUIET_S)

    numbers = receiver.client.simulate_get("/metrics").text

    assert 'activity_ingest_spans_total{outcome="new"} 1.0' in numbers
    assert 'activity_ingest_spans_total{outcome="refused"} 1.0' in numbers
    assert 'activity_ingest_traces_total{outcome="written"} 1.0' in numbers
    assert "activity_ingest_pending_spans 0.0" in numbers
    assert "acme" not in numbers


def test_it_is_ready_at_the_revision_that_it_needs(receiver: Receiver) -> None:
    assert receiver.client.simulate_get("/livez").json == {"status": "alive"}
    assert receiver.client.simulate_get("/readyz").status_code == 200
    with receiver.owner.begin() as conn:
        conn.execute(text("update signals.alembic_version set version_num = 'another'"))

    assert receiver.client.simulate_get("/readyz").status_code == 503


def test_the_ingest_role_reads_no_snapshot_and_changes_no_step(receiver: Receiver) -> None:
    allowed = {
        (row["relation"], row["privilege"])
        for row in receiver.rows(
            "select pg_class.oid::regclass::text as relation, lower(held.privilege_type) as privilege"
            " from pg_class cross join lateral aclexplode(relacl) as held"
            " where held.grantee = 'activity_ingest'::regrole"
        )
    }

    own = {f"signals.ingested_{name}" for name in ("trace", "span")}
    assert allowed == {
        *((table, privilege) for table in own for privilege in ("select", "insert", "update", "delete")),
        *(
            (f"signals.{name}", "select")
            for name in ("alembic_version", "source_mapping", "source_run", "source_trace")
        ),
        *(("runs", privilege) for privilege in ("select", "insert", "update")),
        *((table, privilege) for table in ("aos_traces", "aos_trace_steps") for privilege in ("select", "insert")),
    }
