"""Health of a signal, as derived from the ledger's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, text

from ops.health import ledger
from snapshots.tables import refresh

if TYPE_CHECKING:
    from ops.health.state import DatabaseHealth, SignalHealth
    from tests.ops.system import System


def ended(system: System, *states: str, minutes_ago: int = 0, **values: object) -> None:
    """Write attempts at `cost` that ended so, one after the other, two seconds after they began."""
    instant = f"clock_timestamp() - interval '{minutes_ago} minutes'"
    times = {"requested_at": text(instant), "started_at": text(instant)}
    times["finished_at"] = text(f"{instant} + interval '2 seconds'")
    row = {"signal": "cost", "mode": "tick", "requested_by": "a test", **times, **values}
    with system.owner.begin() as conn:
        for state in states:
            conn.execute(insert(refresh).values({**row, "state": state}))


def health(system: System) -> DatabaseHealth:
    with system.worker.connect() as conn:
        ledger.begin(conn)
        return ledger.read(conn, system.settings, ledger.crowds(conn))


def cost(system: System) -> SignalHealth:
    return next(signal for signal in health(system).signals if signal.signal == "cost")


def test_a_success_ends_a_row_of_failures_and_a_coalesced_attempt_does_not(system: System) -> None:
    ended(system, "failed", "failed")
    ended(system, "coalesced")
    assert cost(system).failures_in_a_row == 2

    ended(system, "succeeded", "failed")

    assert cost(system).failures_in_a_row == 1


def test_the_shard_that_fails_is_not_hidden_by_those_that_succeed(system: System) -> None:
    for _ in range(3):
        ended(system, "succeeded", shards=2, shard=0)
        ended(system, "failed", shards=2, shard=1)

    assert cost(system).failures_in_a_row == 3


def test_drift_is_that_of_each_shards_last_comparison(system: System) -> None:
    ended(system, "succeeded", shards=2, shard=0, drift=7, minutes_ago=50)
    ended(system, "succeeded", shards=2, shard=0, drift=1, minutes_ago=10)
    ended(system, "succeeded", shards=2, shard=1, drift=2, minutes_ago=20)

    compared = cost(system).compared

    assert compared is not None
    assert compared.drift == 3
    assert 1190 < compared.age_s < 1300


def test_attempts_are_counted_for_an_hour(system: System) -> None:
    ended(system, "succeeded", minutes_ago=61, method="full", rows_changed=10)
    ended(system, "succeeded", "succeeded", minutes_ago=59, method="full", rows_changed=3)
    ended(system, "failed", minutes_ago=1)

    counted = {(each.method, each.outcome): each for each in health(system).attempts}

    assert {kind: each.count for kind, each in counted.items()} == {("full", "succeeded"): 2, ("none", "failed"): 1}
    whole = counted["full", "succeeded"]
    assert (round(whole.mean_s or 0, 3), round(whole.max_s or 0, 3), whole.rows_changed) == (2.0, 2.0, 6)


def test_a_request_waits_until_a_worker_begins_it(system: System) -> None:
    system.request(requested_at=text("clock_timestamp() - interval '5 minutes'"))
    system.request()
    system.request(state="running")

    (waiting,) = health(system).waiting

    assert (waiting.mode, waiting.count) == ("manual", 2)
    assert 299 < waiting.oldest_s < 400


def test_the_clock_is_not_taken_for_set_back_by_what_is_written_meanwhile(system: System) -> None:
    """Everything is read from one state of the database, before the clock is."""
    with system.worker.connect() as conn:
        ledger.begin(conn)
        ended(system, "succeeded", as_of=text("clock_timestamp()"))
        found = ledger.read(conn, system.settings, ledger.crowds(conn))

    assert [signal.clock_set_back for signal in found.signals] == [False] * len(found.signals)
    assert cost(system).clock_set_back is False


def test_a_ledger_ahead_of_the_clock_is_noticed(system: System) -> None:
    ended(system, "succeeded", as_of=text("clock_timestamp() + interval '1 minute'"))

    assert cost(system).clock_set_back is True


def test_without_the_table_of_quarantine_nothing_is_said_of_it(system: System) -> None:
    """The exporter of a new version reads a database that has not been migrated yet."""
    system.change(lambda conn: conn.execute(text("drop table signals.quarantine cascade")))

    assert list(health(system).quarantine) == []
