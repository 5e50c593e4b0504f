"""Hostile bodies against a real receiver, and hostile files: nothing ends or is half written, memory is bounded."""

from __future__ import annotations

import http.client
import logging
from collections import Counter
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ingest.exports.load_spans import SpanLoadOptions, load_spans
from ops.keys import create_key
from snapshots.signals import INGEST_CAPABILITY
from tests.ingest import fuzz
from tests.ingest.receiving import receiving
from tests.ingest.spans import TENANT
from tests.served.serving import HOST, until

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.postgres import Server
    from tests.served.serving import Served

#: Requests, and lines of files.
SMALL, FULL = 300, 10_000
#: What a receiving process may hold, MB: its modules take about 110, one body of 1 MB at a time the rest.
MOST_MB = 400
ANSWERS = {200, 400, 413, 415}
#: Traces that are half written, or whose steps are not those of their spans.
TORN = """
select trace_id from signals.ingested_trace
where
    problem is null and pending = 0
    and (
        steps <> (select count(*) from public.aos_trace_steps where trace_id = ingested_trace.trace_id)
        or steps <> (
            select count(*) from signals.ingested_span
            where trace_id = ingested_trace.trace_id and payload ->> 'kind' in ('tool', 'model')
        )
        or not exists (select from public.runs where id = ingested_trace.trace_id)
    )
union all
select trace_id from public.aos_traces
where not exists (select from signals.ingested_trace where trace_id = aos_traces.trace_id)
"""
_log = logging.getLogger(__name__)


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> int:
    return FULL if request.config.getoption("--full-size") else SMALL


def test_bodies_end_nothing_and_leave_nothing_half_written(
    server: Server, fresh_database: str, engine: Engine, private_folder: Path, cases: int
) -> None:
    with engine.begin() as conn:
        token = create_key(conn, TENANT, capabilities=[INGEST_CAPABILITY]).token
    wishes = {"ingest_quiet_s": 0, "ingest_max_wait_s": 1, "ingest_max_body_mb": 1}
    with receiving(server, fresh_database, private_folder, **wishes) as served:
        before = served.pids()
        found, most_mb = _bombard(served, token, cases)
        until(lambda: _count(engine, "select count(*) from signals.ingested_trace where pending > 0") == 0, "written")

        assert served.pids() == before
        assert "internal error" not in served.log()
        assert "Traceback" not in served.log()
    _log.info("%d bodies: %s; at most %d MB", cases, dict(found), most_mb)
    assert set(found) <= ANSWERS
    assert most_mb < MOST_MB
    assert _count(engine, f"select count(*) from ({TORN}) as torn") == 0  # noqa: S608  # ours
    assert _count(engine, "select count(*) from public.aos_traces") > cases / 20


def _bombard(served: Served, token: str, cases: int) -> tuple[Counter[int], int]:
    """Send the cases on one connection after another; return the answers by status, and the most memory seen."""
    random, found, most = Random(6), Counter[int](), 0  # noqa: S311  # repeatable
    for number in range(cases):
        case = fuzz.case(random)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": case.media_type}
        headers |= {"Content-Encoding": case.encoding} if case.encoding else {}
        with closing(http.client.HTTPConnection(HOST, served.port, timeout=30)) as connection:
            connection.request("POST", "/v1/traces", case.content, headers)
            status = connection.getresponse().status
        assert status in ANSWERS, (number, case.kind, status)
        found[status] += 1
        if number % 20 == 0:
            family = served.process.children(recursive=True)
            most = max(most, *(each.memory_info().rss for each in family))
    return found, most // 1_000_000


def test_files_end_nothing_and_leave_nothing_half_written(engine: Engine, tmp_path: Path, cases: int) -> None:
    random = Random(7)  # noqa: S311  # repeatable
    lines = [fuzz.line(random) for _ in range(cases)]
    (tmp_path / "fuzz.jsonl").write_bytes(b"\n".join(lines))

    report = load_spans(engine, tmp_path, SpanLoadOptions(TENANT))

    _log.info("%d lines: %s", cases, report.as_text())
    assert report.skipped > cases / 10
    assert report.written.traces > cases / 10
    assert _count(engine, "select count(*) from signals.ingested_trace where pending > 0") == 0
    assert _count(engine, f"select count(*) from ({TORN}) as torn") == 0  # noqa: S608  # ours
    assert load_spans(engine, tmp_path, SpanLoadOptions(TENANT)).kept == 0


def _count(engine: Engine, statement: str) -> int:
    with engine.connect() as conn:
        return int(conn.execute(text(statement)).scalar_one())
