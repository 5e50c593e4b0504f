"""A sender is told to come back while our schema is away, and loses nothing by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import make_url, text

from ops.adoption.leaving import attach, detach
from tests.ingest.receiver import refusal_of
from tests.ingest.spans import agent, tool

if TYPE_CHECKING:
    from falcon.testing import Result

    from tests.ingest.receiver import Receiver


def assert_retryable(result: Result) -> None:
    assert (result.status_code, int(result.headers["retry-after"]) > 0) == (503, True)
    assert "database" in refusal_of(result)


def test_spans_sent_while_we_are_detached_are_taken_once_we_are_attached(
    receiver: Receiver, fresh_database: str
) -> None:
    detach(make_url(fresh_database))

    assert_retryable(receiver.send(agent(), tool(2, "search")))
    assert receiver.rows("select 1 from signals.ingested_span") == []

    attach(make_url(fresh_database))
    assert receiver.send(agent(), tool(2, "search")).status_code == 200
    receiver.round(31)
    assert receiver.steps() == ["search"]


def test_spans_sent_while_there_is_no_schema_are_refused_for_a_moment(receiver: Receiver) -> None:
    assert receiver.send(agent()).status_code == 200
    with receiver.owner.begin() as conn:
        conn.execute(text("alter schema signals rename to away"))

    assert_retryable(receiver.send(tool(2, "search")))
    assert_retryable(receiver.send(tool(2, "search"), tenant="globex"))
