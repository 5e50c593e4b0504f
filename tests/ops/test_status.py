"""`activity status`: what it shows, and when it ends with 1."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from sqlalchemy import func, insert, text

from ops.commands.status import status
from ops.health.ages import Crowd, spread
from ops.health.broker import BEAT_LOCK_KEY, Broker
from ops.health.state import IngestHealth, Spread
from snapshots.signals import SCHEMA_REVISION, SIGNALS
from snapshots.tables import quarantine
from tests.ingest.spans import agent, tool
from tests.ops.monitored import alerts
from worker.app import create_app
from worker.schedule import RECOMPUTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from sqlalchemy import Connection

    from tests.ops.system import System

MONITORING = Path(__file__).parents[2] / "docs" / "operations" / "monitor.md"


@pytest.fixture
def refreshed(system: System, monkeypatch: pytest.MonkeyPatch) -> System:
    """Return a system whose signals have all been refreshed, and that has no broker."""
    monkeypatch.setenv("ACTIVITY_WORKER_DATABASE_URL", system.worker.url.render_as_string(hide_password=False))
    for signal in SIGNALS:
        system.run(signal)
    return system


def shown(*arguments: str) -> Result:
    return CliRunner().invoke(status, arguments)


def test_without_a_broker_fresh_signals_are_all_it_asks_for(refreshed: System) -> None:
    assert refreshed

    result = shown()

    assert (result.exit_code, "PROBLEM" in result.output) == (0, False), result.output
    assert "cost: fresh, confirmed" in result.output
    assert "broker: none configured" in result.output


def test_with_a_broker_a_worker_and_a_beat_have_to_answer(refreshed: System, monkeypatch: pytest.MonkeyPatch) -> None:
    url = refreshed.settings.broker_url
    assert url is not None
    monkeypatch.setenv("ACTIVITY_BROKER_URL", url.get_secret_value())

    nobody = shown()
    refreshed.broker.set(BEAT_LOCK_KEY, "somebody", ex=60)
    no_worker = shown()

    assert (nobody.exit_code, no_worker.exit_code) == (1, 1)
    assert "PROBLEM: no worker answers" in nobody.output
    assert "PROBLEM: no beat is active" in nobody.output
    assert "PROBLEM: no beat is active" not in no_worker.output


@pytest.mark.parametrize(("revision", "is_problem"), [("106_present_snapshot", True), ("999_later", False)])
def test_a_schema_of_before_is_a_problem_and_one_to_come_is_none(
    refreshed: System, revision: str, *, is_problem: bool
) -> None:
    refreshed.change(
        lambda conn: conn.execute(text("update signals.alembic_version set version_num = :it"), {"it": revision})
    )
    told = f"schema: revision {revision} found, {SCHEMA_REVISION} expected; run `activity migrate` of this version"

    shown_in_json, result = json.loads(shown("--json").output), shown()

    assert result.exit_code == int(is_problem)
    assert (f"PROBLEM: {told}\n" in result.output) is is_problem
    assert shown_in_json["problems"] == ([told] if is_problem else [])


def test_a_broker_that_is_away_is_a_problem(refreshed: System, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refreshed
    monkeypatch.setenv("ACTIVITY_BROKER_URL", "redis://:hunter2@127.0.0.1:1/0")

    result = shown()

    assert result.exit_code == 1
    assert "PROBLEM: the broker does not answer" in result.output
    assert "hunter2" not in result.output


def test_a_broker_of_another_password_is_not_taken_for_one_that_is_away(
    refreshed: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = refreshed.settings.broker_url
    assert url is not None
    address = url.get_secret_value().rpartition("@")[2]
    monkeypatch.setenv("ACTIVITY_BROKER_URL", f"redis://:hunter2@{address}")

    result = shown()

    assert result.exit_code == 1
    assert "PROBLEM: the broker refuses the user or the password of ACTIVITY_BROKER_URL" in result.output
    assert "broker: refuses us" in result.output
    assert "hunter2" not in result.output


def test_a_tenant_in_quarantine_is_named_with_its_error(refreshed: System) -> None:
    now = func.now()
    times = {"first_failed_at": now, "last_failed_at": now, "retry_at": now}
    row = {"signal": "cost", "tenant_id": "acme", "failures": 2, "error_class": "DataError", "error": "out of range"}
    refreshed.change(lambda conn: conn.execute(insert(quarantine).values(row | times)))

    result = shown()

    assert result.exit_code == 1
    assert "PROBLEM: cost: 1 tenants in quarantine" in result.output
    assert "cost of tenant acme, 2 failures" in result.output
    assert "DataError: out of range" in result.output


def test_without_traces_taken_in_nothing_is_said_of_a_receiver(refreshed: System) -> None:
    assert refreshed

    assert "receiver" not in shown().output
    assert json.loads(shown("--json").output)["ingest"] is None


def test_it_says_what_came_in_and_what_waits(refreshed: System) -> None:
    receiver = refreshed.receiver()
    receiver.send(agent(), tool(2, "search"))

    result = shown()

    assert result.exit_code == 0
    assert re.search(
        r"^receiver: last span \d+ s ago; last hour: 1 traces, 0 spans refused; 2 spans wait, the oldest for \d+ s$",
        result.output,
        re.MULTILINE,
    )


def test_once_all_is_written_nothing_waits(refreshed: System) -> None:
    receiver = refreshed.receiver()
    receiver.send(agent(), tool(2, "search"))
    receiver.round(after_s=60)

    told = json.loads(shown("--json").output)["ingest"]

    assert (told["spans_waiting"], told["oldest_s"]) == (0, 0)
    assert "spans refused; 0 spans wait\n" in shown().output


def test_spans_that_were_given_up_are_counted_for_an_hour(refreshed: System) -> None:
    receiver = refreshed.receiver()
    refreshed.change(lambda conn: conn.execute(text("alter table public.aos_traces add check (trace_id < '0')")))
    receiver.send(agent(), tool(2, "search"))
    receiver.round(after_s=60)
    at_first = shown().output
    refreshed.change(earlier("3601 seconds"))

    assert "last hour: 1 traces, 2 spans refused; 0 spans wait" in at_first
    assert "last hour: 0 traces, 0 spans refused; 0 spans wait" in shown().output


@pytest.mark.parametrize(("waited_s", "is_problem"), [(0.0, False), (1200.0, False), (1200.1, True)])
def test_a_span_that_waits_beyond_the_longest_wait_and_some_is_a_problem(waited_s: float, *, is_problem: bool) -> None:
    at = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)
    ingest = IngestHealth(at, 1.0, 1, 0, 1, oldest_s=waited_s, late_after_s=1200.0)

    assert bool(ingest.problems) is is_problem


def test_a_span_that_nobody_writes_ends_with_1(refreshed: System) -> None:
    refreshed.receiver().send(agent())
    refreshed.change(earlier("2 hours"))

    result = shown()

    assert result.exit_code == 1
    assert re.search(
        r"^PROBLEM: receiver: a span has waited for \d+ s, and nobody writes it", result.output, re.MULTILINE
    )


def test_the_longest_wait_is_the_setting_s_and_five_minutes(refreshed: System, monkeypatch: pytest.MonkeyPatch) -> None:
    refreshed.receiver().send(agent())
    monkeypatch.setenv("ACTIVITY_INGEST_MAX_WAIT_S", "36000")
    refreshed.change(earlier("2 hours"))

    assert json.loads(shown("--json").output)["ingest"]["late_after_s"] == 36_300
    assert shown().exit_code == 0


def test_a_database_of_before_that_says_nothing_of_it(refreshed: System) -> None:
    refreshed.receiver().send(agent())
    refreshed.change(
        lambda conn: conn.execute(
            text(
                "revoke select (pending, pending_since, last_arrived_at, refused)"
                " on signals.ingested_trace from activity_worker"
            )
        )
    )

    result = shown()

    assert "receiver" not in result.output
    assert "PROBLEM: schema signals is damaged: grant select (last_arrived_at) on" in result.output


def earlier(interval: str) -> Callable[[Connection], object]:
    """Return what makes the spans that were taken in older."""
    moved = ", ".join(f"{name} = {name} - interval '{interval}'" for name in ("pending_since", "last_arrived_at"))
    return lambda conn: conn.execute(text(f"update signals.ingested_trace set {moved}"))  # noqa: S608  # a test's own


def test_the_same_in_json_for_scripts(refreshed: System) -> None:
    refreshed.request()

    result = json.loads(shown("--json").output)

    assert (result["fresh"], result["problems"]) == (True, [])
    assert [signal["signal"] for signal in result["signals"]] == list(SIGNALS)
    assert {each["outcome"] for each in result["attempts"]} == {"succeeded"}
    assert [(each["mode"], each["count"]) for each in result["waiting"]] == [("manual", 1)]
    assert result["broker"]["is_configured"] is False


def test_a_message_tells_its_age(system: System) -> None:
    create_app(system.settings).send_task(RECOMPUTE, args=[1])

    broker = Broker(system.settings).read()

    ages = {each.queue: (each.messages, each.oldest_s) for each in broker.queues}
    count, age_s = ages["manual"]
    assert count == 1
    assert age_s is not None
    assert 0 <= age_s < 60
    assert ages["signals"] == (0, None)


@pytest.mark.parametrize(
    "message", [b"", b"no json", b"[]", b"{}", b'{"headers": {}}', b'{"headers": {"activity_sent_at": []}}']
)
def test_a_message_of_somebody_else_has_no_age(system: System, message: bytes) -> None:
    system.broker.lpush("manual", message)

    assert {each.oldest_s for each in Broker(system.settings).read().queues} == {None}


def test_workers_are_asked_no_more_often_than_every_fifteen_seconds(system: System) -> None:
    passed = 0.0
    broker = Broker(system.settings, timer=lambda: passed)
    asked = []
    for passed in (0.0, 14.9, 15.0):  # noqa: B007  # the timer reads it
        before = system.broker.info("stats")["total_connections_received"]
        broker.read()
        asked.append(system.broker.info("stats")["total_connections_received"] > before + 1)

    assert asked == [True, False, True]


def test_quantiles_are_ages_that_occur() -> None:
    assert spread([(1.0, 50), (2.0, 45), (3.0, 4), (9.0, 1)]) == Spread(1.0, 2.0, 3.0, 9.0)
    assert spread([(5.0, 1)]) == Spread(5.0, 5.0, 5.0, 5.0)
    assert spread([(5.0, 0)]) is None


def test_a_tenant_that_is_set_aside_ages_by_itself() -> None:
    crowd = Crowd(ages={0: 1.0, 1: 2.0}, tenants={0: 10, 1: 1}, aside=[(1, 500.0)])

    assert crowd.spread() == Spread(1.0, 500.0, 500.0, 500.0)


def test_the_documentation_lists_every_metric_and_every_alert(system: System) -> None:
    system.scrape()
    text = MONITORING.read_text()
    section = text[text.index("## Metrics and alerts") :]

    assert {name for name in alerts() if f"`{name}`" not in section} == set()
    assert {family for family in system.families() if f"`{family}" not in section} == set()
