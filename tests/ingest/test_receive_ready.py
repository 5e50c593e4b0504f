"""Readiness of a receiver in /readyz, /metrics and the doctor, and failures in its log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from ingest.failures import SILENCE_S, Failures
from migrations.ingest import open_source
from ops.adoption.doctor.diagnosing import diagnose, visit
from ops.adoption.leaving import attach, detach
from tests.ingest.receiver import refusal_of
from tests.ingest.spans import agent

if TYPE_CHECKING:
    import pytest

    from tests.ingest.receiver import Receiver

REVISION = "select version_num from signals.alembic_version"


def assert_ready(receiver: Receiver, *, is_ready: bool) -> str:
    """Return what /readyz says where it refuses; /metrics must agree."""
    numbers = receiver.client.simulate_get("/metrics").text
    result = receiver.client.simulate_get("/readyz")
    assert f"activity_ingest_ready {float(is_ready)}" in numbers
    assert result.status_code == (200 if is_ready else 503)
    return "" if is_ready else refusal_of(result)


def test_it_is_not_ready_without_a_right_that_it_needs(receiver: Receiver) -> None:
    assert_ready(receiver, is_ready=True)
    with receiver.owner.begin() as conn:
        conn.execute(text("revoke insert on public.runs, public.aos_trace_steps from activity_ingest"))

    said = assert_ready(receiver, is_ready=False)

    assert "may not: insert on public.runs, insert on public.aos_trace_steps" in said
    assert "`activity migrate`" in said


def test_the_doctor_names_a_right_that_is_missing_once_something_was_taken_in(receiver: Receiver) -> None:
    def found() -> list[str]:
        with visit(receiver.owner.url) as conn:
            return [each.found for each in diagnose(conn).findings if each.id == "rights.receiver"]

    with receiver.owner.begin() as conn:
        conn.execute(text("revoke update on public.runs from activity_ingest"))
    assert found() == []

    assert receiver.send(agent()).status_code == 200
    assert found() == ["activity_ingest may not: update on public.runs"]

    with receiver.owner.begin() as conn:
        open_source(conn)
    assert found() == []


def test_it_is_not_ready_where_a_table_is_gone(receiver: Receiver) -> None:
    with receiver.owner.begin() as conn:
        conn.execute(text("drop table public.aos_trace_steps cascade"))

    assert "select on public.aos_trace_steps" in assert_ready(receiver, is_ready=False)


def test_it_is_not_ready_while_we_are_detached(receiver: Receiver, fresh_database: str) -> None:
    detach(make_url(fresh_database))
    assert "`activity attach`" in assert_ready(receiver, is_ready=False)

    attach(make_url(fresh_database))
    assert_ready(receiver, is_ready=True)


def test_it_is_not_ready_at_another_revision_and_names_both(receiver: Receiver) -> None:
    [needed] = [row["version_num"] for row in receiver.rows(REVISION)]
    with receiver.owner.begin() as conn:
        conn.execute(text("update signals.alembic_version set version_num = 'another'"))

    assert f"at revision another; this version needs {needed}" in assert_ready(receiver, is_ready=False)


def test_spans_that_cannot_be_kept_are_counted_each_and_told_once(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver.owner.begin() as conn:
        conn.execute(text("revoke insert on signals.ingested_span from activity_ingest"))

    with caplog.at_level(logging.WARNING, "ingest.otlp"):
        answers = [receiver.send(agent()).status_code for _ in range(5)]

    assert answers == [500] * 5
    assert 'activity_ingest_requests_total{status="500"} 5.0' in receiver.client.simulate_get("/metrics").text
    [line] = [record for record in caplog.records if record.message == "spans not kept"]
    assert (line.levelname, vars(line)["pgcode"], vars(line)["times"]) == ("ERROR", "42501", 1)


def test_a_failure_that_goes_on_is_told_once_a_minute_with_how_often_it_was(caplog: pytest.LogCaptureFixture) -> None:
    now_s = [0.0]
    failures = Failures(logging.getLogger("ingest.otlp.test"), timer=lambda: now_s[0])

    def fail(what: str = "round failed", times: int = 1) -> None:
        for _ in range(times):
            failures.tell(what, OperationalError("select 1", None, Exception("gone")), is_foreseen=True)

    fail(times=30)
    fail("spans not kept")
    now_s[0] = SILENCE_S
    fail(times=2)
    fail("spans not kept")

    told = [(record.message, vars(record)["times"]) for record in caplog.records]
    assert told == [("round failed", 1), ("spans not kept", 1), ("round failed", 30), ("spans not kept", 1)]
