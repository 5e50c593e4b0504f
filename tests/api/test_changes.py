"""The changes of a tenant: every one seen, none twice, in order, whatever happens to the reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DBAPIError

from api.http import wire
from snapshots import settings
from snapshots.movement import change_counter, signal_change
from tests.api.arrange import NOW, PREFIX, Api
from tests.api.contract import assert_problem
from tests.factories import insert_run
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext
from worker.engine.publish import draw_fence
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from sqlalchemy import Connection

SETTINGS = settings.load()

PATH = f"{PREFIX}/changes"


def page(api: Api, since: str | None = None, limit: int = 100, tenant: str = "acme") -> dict[str, Any]:
    params = {"limit": str(limit)} | ({} if since is None else {"since": since})
    result = api.get(PATH, params=params, tenant=tenant)
    assert result.status_code == 200, result.text
    body: dict[str, Any] = result.json
    return body


def numbers(body: dict[str, Any]) -> list[int]:
    return [int(change["fingerprint"], 16) for change in body["changes"]]


def test_a_tenant_without_changes_has_a_place_to_go_on_from(api: Api) -> None:
    first = page(api)
    assert (first["changes"], first["has_more"]) == ([], False)
    api.record_change(1)

    assert numbers(page(api, first["next_cursor"])) == [1]


def test_pages_follow_each_other(api: Api) -> None:
    for number in range(1, 6):
        api.record_change(number)

    first = page(api, limit=2)
    second = page(api, first["next_cursor"], limit=2)
    third = page(api, second["next_cursor"], limit=2)

    assert [numbers(each) for each in (first, second, third)] == [[1, 2], [3, 4], [5]]
    assert [each["has_more"] for each in (first, second, third)] == [True, True, False]
    assert page(api, third["next_cursor"])["changes"] == []


def back(api: Api, before: str, limit: int = 2, tenant: str = "acme") -> dict[str, Any]:
    result = api.get(PATH, params={"before": before, "limit": str(limit)}, tenant=tenant)
    assert result.status_code == 200, result.text
    body: dict[str, Any] = result.json
    return body


def test_the_newest_come_first_and_pages_go_back(api: Api) -> None:
    for number in range(1, 6):
        api.record_change(number)

    first = back(api, "now")
    second = back(api, first["next_cursor"])
    third = back(api, second["next_cursor"])

    assert [numbers(each) for each in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert [each["has_more"] for each in (first, second, third)] == [True, True, False]
    assert numbers(back(api, third["next_cursor"])) == []
    assert numbers(back(api, "now", tenant="globex")) == []


def test_going_back_ends_where_changes_are_no_longer_kept(api: Api) -> None:
    for number in range(1, 5):
        api.record_change(number)
    with api.owner.begin() as conn:
        conn.execute(delete(signal_change).where(signal_change.c.change_no <= 2))

    page_back = back(api, "now", limit=10)

    assert (numbers(page_back), page_back["has_more"]) == ([4, 3], False)


@pytest.mark.parametrize("first", [{}, {"before": "now"}], ids=["forward", "back"])
def test_before_a_place_from_before_the_first_change_there_is_nothing(api: Api, first: dict[str, str]) -> None:
    cursor = api.get(PATH, params=first).json["next_cursor"]
    api.record_change(1)

    empty = back(api, cursor)

    assert (numbers(empty), empty["has_more"]) == ([], False)
    assert numbers(back(api, empty["next_cursor"])) == []
    assert numbers(page(api, empty["next_cursor"])) == [1]


def test_back_and_forth_at_once_is_refused(api: Api) -> None:
    cursor = page(api)["next_cursor"]

    result = api.get(PATH, params={"before": "now", "since": cursor})

    assert_problem(result, 400, "invalid_parameter")
    assert "before" in result.json["detail"]


@pytest.mark.parametrize("cursor", ["x", "e30"])
def test_a_cursor_back_that_nobody_made_is_refused(api: Api, cursor: str) -> None:
    result = api.get(PATH, params={"before": cursor})

    assert_problem(result, 400, "invalid_parameter")
    assert "before" in result.json["detail"]


def test_the_cursor_of_any_change_goes_on_behind_it(api: Api) -> None:
    for number in range(1, 4):
        api.record_change(number)
    cursors = [change["cursor"] for change in page(api)["changes"]]

    assert [numbers(page(api, cursor)) for cursor in cursors] == [[2, 3], [3], []]


def test_a_cursor_from_before_retention_is_refused_and_never_skips(api: Api) -> None:
    for number in range(1, 5):
        api.record_change(number)
    cursors = [page(api, limit=number)["next_cursor"] for number in (1, 2, 3)]
    with api.owner.begin() as conn:
        conn.execute(delete(signal_change).where(signal_change.c.change_no <= 3))

    assert_problem(api.get(PATH, params={"since": cursors[0]}), 410, "cursor_expired")
    assert_problem(api.get(PATH, params={"since": cursors[1]}), 410, "cursor_expired")
    assert numbers(page(api, cursors[2])) == numbers(page(api)) == [4]


def test_a_cursor_is_refused_once_every_change_behind_it_is_gone(api: Api) -> None:
    for number in (1, 2):
        api.record_change(number)
    old, end = page(api, limit=1)["next_cursor"], page(api)["next_cursor"]
    with api.owner.begin() as conn:
        conn.execute(delete(signal_change))

    assert_problem(api.get(PATH, params={"since": old}), 410, "cursor_expired")
    assert page(api, end)["changes"] == []
    assert page(api)["next_cursor"] == end


def test_a_cursor_of_numbers_that_began_anew_is_refused(api: Api) -> None:
    api.record_change(1)
    cursor = page(api)["next_cursor"]
    with api.owner.begin() as conn:
        conn.execute(update(change_counter).values(stream="another"))

    for name in ("since", "before"):
        assert_problem(api.get(PATH, params={name: cursor}), 410, "cursor_expired")


def test_a_cursor_of_another_tenant_is_refused(api: Api) -> None:
    api.record_change(1)
    api.record_change(1, tenant="globex")
    cursor = page(api)["next_cursor"]

    assert_problem(api.get(PATH, params={"since": cursor}, tenant="globex"), 400, "invalid_parameter")


@pytest.mark.parametrize("cursor", ["x", "%00", "W10", "bnVsbA", "WzEsMiwzXQ", "a" * 300])
def test_a_cursor_that_nobody_made_is_refused(api: Api, cursor: str) -> None:
    problem = assert_problem(api.get(PATH, params={"since": cursor}), 400, "invalid_parameter")

    assert problem["parameter"] == "since"


class Readers(stateful.RuleBasedStateMachine):
    """Refreshes whose transactions stay open, commit or are lost, beside a reader that crashes and resumes.

    What a reader has taken counts as seen once it has written its cursor down.
    """

    api: Api

    def __init__(self) -> None:
        """Begin with an empty database and a reader that has seen nothing."""
        super().__init__()
        self.api.clear()
        self.api._tokens.clear()  # noqa: SLF001  # the keys went with the rows
        self.seen: list[str] = []
        self.kept: str | None = None
        self.open: Connection | None = None

    @stateful.precondition(lambda self: self.open is None)
    @stateful.rule(
        signal=st.sampled_from(["cost", "attention"]),
        runs=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(1, 9)), min_size=1, max_size=3),
    )
    def refresh(self, signal: str, runs: list[tuple[int, bool, int]]) -> None:
        """Change some runs and publish, in a transaction that stays open."""
        self.open = self.api.owner.connect()
        for place, stays, cost in runs:
            self.open.execute(text("delete from runs where id = :id"), {"id": f"run-{place:03}"})
            if stays:
                level = "VIOLATED" if cost % 2 else "AT_RISK"
                row = {"estimated_cost_usd": cost, "risk_level": level, "agent_id": f"agent-{place}"}
                insert_run(self.open, id=f"run-{place:03}", started_at=NOW, completed_at=NOW, **row)
        refresh(self.open, signal)

    @stateful.precondition(lambda self: self.open is not None)
    @stateful.rule(is_kept=st.booleans())
    def end(self, is_kept: bool) -> None:  # noqa: FBT001  # hypothesis names it
        """Commit the open transaction, or lose it."""
        assert self.open is not None
        if is_kept:
            self.open.commit()
        self.open.close()
        self.open = None

    @stateful.rule(limit=st.integers(1, 4), crashes=st.booleans())
    def read(self, limit: int, crashes: bool) -> None:  # noqa: FBT001  # hypothesis names it
        """Take a page; a reader that crashes before it has written its cursor down has seen nothing of it."""
        found = page(self.api, self.kept, limit)
        if not crashes:
            self.seen += told(found)
            self.kept = found["next_cursor"]

    @stateful.invariant()
    def nothing_is_missed_or_seen_twice(self) -> None:
        """Hold what was seen to be the beginning of what was committed."""
        committed = recorded(self.api)
        assert self.seen == committed[: len(self.seen)]

    def teardown(self) -> None:
        """Read to the end: everything was seen."""
        if self.open is not None:
            self.end(is_kept=True)
        has_more = True
        while has_more:
            found = page(self.api, self.kept, 3)
            self.seen += told(found)
            self.kept, has_more = found["next_cursor"], found["has_more"]
        assert self.seen == recorded(self.api)


def told(body: dict[str, Any]) -> list[str]:
    return [f"{change['kind']} {change['fingerprint']} {change['value']}" for change in body["changes"]]


def recorded(api: Api) -> list[str]:
    """Return every committed change in the order of the numbers, which have no gap."""
    with api.owner.connect() as conn:
        rows = conn.execute(select(signal_change).order_by(signal_change.c.change_no)).all()
    assert [row.change_no for row in rows] == list(range(1, len(rows) + 1))
    values = [None if row.value is None else wire.number(row.value) for row in rows]
    return [f"{row.kind} {row.fingerprint} {value}" for row, value in zip(rows, values, strict=True)]


def refresh(conn: Connection, signal: str) -> None:
    _, fence = draw_fence(conn)
    refresh_batch(conn, RefreshContext(SIGNALS[signal], SETTINGS, fence, NOW, fence))


def test_a_reader_that_crashes_and_resumes_sees_every_change_once_and_in_order(api: Api) -> None:
    Readers.api = api

    stateful.run_state_machine_as_test(Readers, settings=hypothesis.settings(stateful_step_count=20, max_examples=15))


def test_a_later_number_is_never_visible_before_an_earlier_one(api: Api) -> None:
    """The second refresh that has something to say of a tenant waits until the first has ended."""
    with api.owner.begin() as conn:
        insert_run(conn, id="run-1", started_at=NOW, completed_at=NOW, estimated_cost_usd=1, risk_level="AT_RISK")
    with api.owner.connect() as first, api.owner.connect() as second:
        refresh(first, "cost")
        second.execute(text("set local lock_timeout = '100ms'"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            refresh(second, "attention")
        second.rollback()
        assert page(api)["changes"] == []
        first.commit()
        refresh(second, "attention")
        second.commit()

    assert [change["signal"] for change in page(api)["changes"]] == ["cost", "attention"]
