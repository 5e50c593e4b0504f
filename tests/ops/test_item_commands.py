"""`activity explain-item` and `activity webhooks`, as an operator calls them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text

from ops import webhooks
from ops.cli import main
from snapshots import settings
from snapshots.database import connect
from snapshots.movement import item_state
from tests.factories import insert_run
from worker.engine.refresh import refresh
from worker.webhooks.deliver import Means

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    Activity = Callable[..., tuple[int, str, str]]


@pytest.fixture
def activity(fresh_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Activity:
    """Return a function that runs the command and returns its exit code, output and errors."""
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    """Yield an engine on the database that the commands are told of."""
    engine = connect(fresh_database)
    yield engine
    engine.dispose()


@pytest.fixture
def fingerprint(engine: Engine) -> str:
    """Return the fingerprint of a run that is in the queue."""
    with engine.begin() as conn:
        started = datetime.now(UTC) - timedelta(hours=1)
        insert_run(conn, id="run-1", state="LIVE", started_at=started, last_seen_at=started, risk_level="VIOLATED")
    refresh(engine, "attention", settings.load())
    with engine.connect() as conn:
        found: str = conn.execute(select(item_state.c.fingerprint)).scalar_one()
    return found


def test_an_item_is_explained_in_sentences(activity: Activity, fingerprint: str) -> None:
    code, out, _ = activity("explain-item", fingerprint, "--tenant", "acme")

    assert code == 0
    assert out.startswith("attention: run_id run-1\n")
    assert "  risk: 0.35 x 1 (VIOLATED) = 0.35\n" in out
    assert "the source still says the same\n" in out
    last = out.splitlines()[-1]
    assert "the rule gives attention_score 0." in last
    assert "reasons risk" in last
    assert not set(last) & set('{}[]"')


def test_a_recompute_says_what_the_rule_gives_of_the_source_as_it_is(
    activity: Activity, engine: Engine, fingerprint: str
) -> None:
    with engine.begin() as conn:
        conn.execute(text("update runs set risk_level = 'NORMAL'"))

    said: dict[str, Any] = json.loads(activity("explain-item", fingerprint, "--tenant", "acme", "--json")[1])

    assert said["source"]["differences"] == [{"name": "risk", "stored": "VIOLATED", "now": "none"}]
    assert said["recomputed"]["item"] is None
    sentences = activity("explain-item", fingerprint, "--tenant", "acme")[1]
    assert "the source has changed since: risk was VIOLATED, is none\n" in sentences
    assert sentences.endswith("the rule gives no such item any more\n")


@pytest.mark.parametrize(("tenant", "name", "ended"), [("globex", "0" * 32, 1), ("acme", "x", 2)])
def test_what_is_no_item_of_the_tenant_is_said_in_one_line(
    activity: Activity, tenant: str, name: str, ended: int
) -> None:
    code, out, err = activity("explain-item", name, "--tenant", tenant)

    assert (code, out, err.count("\n")) == (ended, "", 1)
    assert "fingerprint" in err


@pytest.mark.usefixtures("fingerprint")
def test_a_backtest_explains_its_columns_and_looks_at_the_last_day(activity: Activity) -> None:
    code, out, _ = activity("backtest", "attention", "--tenant", "acme", "--every", "6h")

    assert code == 0
    assert "  candidate  items flagged with those of --set\n" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("20")]
    assert [row[1] for row in rows] == ["0", "0", "0", "0", "1"]


def test_a_backtest_of_nobody_says_so_and_fails(activity: Activity) -> None:
    code, out, err = activity("backtest", "cost", "--tenant", "mistyped")

    assert (code, out) == (1, "")
    assert err == "activity: --tenant: there are no runs and no traces of 'mistyped'; is the name right?\n"


def test_a_webhook_is_added_listed_tried_and_removed(activity: Activity) -> None:
    url = "https://hooks.example.invalid/hunter2"

    code, secret, err = activity("webhooks", "add", "--tenant", "acme", "--url", url, "--kind", "worsened")
    assert (code, secret.startswith("whsec_"), "webhook 1 of tenant acme" in err) == (0, True, True)

    listed = activity("webhooks", "list", "--tenant", "acme")[1]
    assert listed == "1  acme  hooks.example.invalid  standard  attempts 0  dead letters 0  well\n"
    assert json.loads(activity("webhooks", "list", "--json")[1])[0]["kinds"] == ["worsened"]
    assert activity("webhooks", "test", "1")[:2] == (1, "webhook 1: url: its host has no address\n")
    assert json.loads(activity("status", "--json")[1])["notification"]["webhooks"] == 1
    assert "webhooks: 1, failing 0, disabled 0, dead letters of a day 0\n" in activity("status")[1]
    assert activity("webhooks", "remove", "1")[1] == "webhook 1: removed\n"
    assert activity("webhooks", "list")[1] == "no webhooks\n"
    assert activity("webhooks", "list", "--tenant", "acme")[1] == "no webhooks of tenant acme\n"
    assert json.loads(activity("webhooks", "list", "--json")[1]) == []
    assert activity("webhooks", "remove", "1")[2].startswith("activity: webhook: 1 does not exist")


def test_a_webhook_that_leads_nowhere_public_is_refused_by_name(activity: Activity) -> None:
    code, out, err = activity("webhooks", "add", "--tenant", "acme", "--url", "http://example.com/hunter2")

    assert (code, out) == (2, "")
    assert err.startswith("activity: url: expected an https URL")
    assert "hunter2" not in err


def test_no_connection_is_held_while_a_webhook_is_tried(engine: Engine) -> None:
    held: list[int] = []

    def resolve(_host: str, _port: int) -> list[str]:
        held.append(engine.pool.checkedout())  # type: ignore[attr-defined]  # of a pool that counts
        return ["127.0.0.1"]

    with engine.begin() as conn:
        made, _ = webhooks.add(conn, settings.load(), "acme", "https://hooks.example.com/")

    assert not webhooks.try_out(engine, settings.load(), made, Means(resolve)).is_delivered
    assert held == [0]
