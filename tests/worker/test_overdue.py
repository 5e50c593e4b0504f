"""Rescue of manual requests after the broker lost the message: once, and without waiting for locks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from snapshots.signals import SLOTS
from snapshots.tables import refresh
from tests.worker.test_refresh import SETTINGS, now, plant
from worker.engine import ledger, locks
from worker.engine.context import RefreshRequest
from worker.housekeeping.rescue import OVERDUE_S, take_up

if TYPE_CHECKING:
    from sqlalchemy import Engine


def ask(engine: Engine, signal: str, *, waited_s: float) -> int:
    """Ask for a refresh as an operator did `waited_s` seconds ago, without a message."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.request(books, RefreshRequest(signal, mode="manual", requested_by="an operator"))
        since = func.clock_timestamp() - timedelta(seconds=waited_s)
        books.execute(update(refresh).where(refresh.c.refresh_id == asked).values(requested_at=since))
    return asked


def states(engine: Engine) -> dict[int, str]:
    with engine.connect() as conn:
        return {row.refresh_id: row.state for row in conn.execute(select(refresh).order_by(refresh.c.refresh_id))}


def test_a_request_whose_message_was_lost_is_done(engine: Engine) -> None:
    with engine.begin() as conn:
        plant(conn, "acme", now(conn))
    lost = ask(engine, "cost", waited_s=OVERDUE_S + 1)

    assert take_up(engine, SETTINGS)

    with engine.connect() as conn:
        row = conn.execute(select(refresh).where(refresh.c.refresh_id == lost)).one()
        assert (row.state, row.tenants_changed, row.requested_by) == ("succeeded", 1, "an operator")
    assert not take_up(engine, SETTINGS)


def test_one_at_a_time_the_oldest_first(engine: Engine) -> None:
    lost = [ask(engine, signal, waited_s=OVERDUE_S + 1) for signal in ("cost", "patterns", "attention")]

    assert take_up(engine, SETTINGS)

    assert states(engine) == {lost[0]: "succeeded", lost[1]: "requested", lost[2]: "requested"}


def test_a_young_request_is_left_to_its_message(engine: Engine) -> None:
    asked = ask(engine, "cost", waited_s=OVERDUE_S - 30)

    assert not take_up(engine, SETTINGS)
    assert states(engine) == {asked: "requested"}


def test_what_the_schedule_asked_for_is_rung_for_by_the_schedule(engine: Engine) -> None:
    asked = ask(engine, "cost", waited_s=OVERDUE_S + 1)
    with engine.begin() as conn:
        conn.execute(update(refresh).values(mode="tick"))

    assert not take_up(engine, SETTINGS)
    assert states(engine) == {asked: "requested"}


def test_a_request_that_must_wait_for_a_lock_keeps_its_place_and_those_behind_it_are_done(engine: Engine) -> None:
    lost = [ask(engine, signal, waited_s=OVERDUE_S + 1) for signal in ("cost", "attention")]

    with locks.held(engine, "cost", range(SLOTS)):
        assert take_up(engine, SETTINGS)
        assert not take_up(engine, SETTINGS)
        assert states(engine) == {lost[0]: "requested", lost[1]: "succeeded"}

    assert take_up(engine, SETTINGS)
    assert states(engine) == dict.fromkeys(lost, "succeeded")


def test_two_that_look_at_once_do_it_once(engine: Engine) -> None:
    ask(engine, "cost", waited_s=OVERDUE_S + 1)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: take_up(engine, SETTINGS), range(2)))

    assert sorted(done) == [False, True]


def test_a_request_that_fails_is_over_and_does_not_hold_up_the_next_one(engine: Engine) -> None:
    lost = [ask(engine, signal, waited_s=OVERDUE_S + 1) for signal in ("cost", "attention")]
    with engine.begin() as conn:
        conn.execute(text("alter table signals.freshness add constraint no_cost check (signal <> 'cost') not valid"))

    with pytest.raises(DBAPIError):
        take_up(engine, SETTINGS)
    assert take_up(engine, SETTINGS)

    assert states(engine) == {lost[0]: "failed", lost[1]: "succeeded"}
