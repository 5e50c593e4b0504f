"""Rows that another session writes between two statements of ours are never overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from ingest.assembly import span_buffer
from ingest.files.load_rows import store
from tests.ingest.spans import TRACE, agent, tool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from tests.ingest.receiver import Receiver

OTHERS = "insert into public.runs (id, tenant_id, status, state) values (:id, 'globex', 'running', 'LIVE')"
QUIET_S = 31


def meanwhile(writer: Engine, owner: Engine, *statements: str) -> list[str]:
    """Run `statements` in another session, committed just before `writer` first locks or inserts a run; return that."""
    seen: list[str] = []

    def interleave(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        is_first = "INSERT INTO public.runs" in statement or "FOR NO KEY UPDATE OF runs" in statement
        if is_first and not seen:
            seen.append(statement)
            with owner.begin() as conn:
                for each in statements:
                    conn.execute(text(each), {"id": TRACE})

    event.listen(writer, "before_cursor_execute", interleave)
    return seen


def run_of(receiver: Receiver) -> Sequence[object]:
    [run] = receiver.rows(f"select tenant_id, status, state from public.runs where id = '{TRACE}'")  # noqa: S608  # a constant
    return tuple(run.values())


@pytest.mark.parametrize("is_whole", [True, False], ids=["written", "shown"])
def test_a_run_that_another_tenant_writes_at_the_same_moment_stays_its_own(receiver: Receiver, is_whole: bool) -> None:  # noqa: FBT001  # a case
    receiver.send(tool(2, "search"), *([agent()] if is_whole else []))
    seen = meanwhile(receiver.assembler.engine, receiver.owner, OTHERS)

    done = receiver.round(QUIET_S)

    assert len(seen) == 1
    assert run_of(receiver) == ("globex", "running", "LIVE")
    assert done.problems == ({TRACE: span_buffer.IN_USE} if is_whole else {})
    assert receiver.steps() == []


def test_a_run_that_went_and_came_back_as_another_tenants_stays_its_own(receiver: Receiver) -> None:
    receiver.send(tool(2, "search"))
    receiver.round()
    receiver.send(agent())
    seen = meanwhile(receiver.assembler.engine, receiver.owner, "delete from public.runs where id = :id", OTHERS)

    done = receiver.round(QUIET_S)

    assert len(seen) == 1
    assert run_of(receiver) == ("globex", "running", "LIVE")
    assert done.problems == {TRACE: span_buffer.IN_USE}
    assert receiver.steps() == []


def test_a_stored_run_never_moves_to_another_tenant(receiver: Receiver) -> None:
    """The statement that stores checks: a file's lines are checked one statement before they are merged."""
    with receiver.owner.begin() as conn:
        conn.execute(text(OTHERS), {"id": TRACE})
        moved = store(conn, {"runs": [{"run_id": TRACE, "tenant_id": "acme", "status": "failed"}]})
        claimed = store(conn, {"runs": [{"run_id": TRACE, "tenant_id": "globex", "status": "failed"}]})

    assert (moved["runs"].updated, moved["runs"].unchanged) == (0, 1)
    assert claimed["runs"].updated == 1
    assert run_of(receiver) == ("globex", "failed", "LIVE")


def test_one_run_that_cannot_be_shown_costs_few_attempts(receiver: Receiver) -> None:
    traces = [f"{number:032x}" for number in range(1, 33)]
    receiver.send(*(tool(2, "search", traceId=trace_id) for trace_id in traces))
    with receiver.owner.begin() as conn:
        conn.execute(text("insert into public.runs (id, tenant_id) values (:id, 'globex')"), {"id": traces[20]})
    attempts: list[str] = []

    def count(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        attempts.extend([statement] if statement == "savepoint trace_batch" else [])

    event.listen(receiver.assembler.engine, "before_cursor_execute", count)
    receiver.round()

    assert len(receiver.rows("select id from public.runs where tenant_id = 'acme'")) == 31
    assert len(attempts) == 1 + 2 * 5
