"""Every error that a person can act on is one line on stderr and an exit code."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event, text

from ops.cli import main
from snapshots.database import connect
from snapshots.signals import SCHEMA_REVISION
from tests.factories import AS_OF, insert_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

_BACKTEST = [
    "backtest", "cost", "--tenant", "acme", "--from", "2026-01-16T12:00:00Z", "--to", "2026-01-17T12:00:00Z"
]  # fmt: skip
NOWHERE = "postgresql://owner:hunter2@127.0.0.1:1/activity"


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Take back the handlers that a command installs: they write to a stream of this test."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command and return exit code, output and errors."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    shown = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), shown.out, shown.err


@pytest.mark.parametrize(
    ("arguments", "expected", "ended"),
    [
        (["compute", "moods", "--tenant", "acme"], "signal: 'moods' does not exist; expected one of", 2),
        (["recompute", "--signal", "moods"], "signal: 'moods' does not exist; expected one of", 2),
        (["recompute", "--as-of", "2026-01-17T12:00:00Z"], "--as-of: only with --dry-run", 2),
        (["compute", "cost", "--tenant", "acme", "--as-of", "yesterday"], "expected one like 2026-01-17T12:00:00Z", 2),
        (["compute", "cost", "--tenant", "acme", "--as-of", "2026-01-17T12:00:00"], "has no zone", 2),
        (["compute", "cost", "--tenant", "acme", "--as-of", "9999-01-17T12:00:00Z"], "is in the future", 2),
        (["compute", "cost"], "Missing option '--tenant'", 2),
        ([*_BACKTEST, "--every", "soon"], "--every: 'soon' is no step; expected a number and m, h or d", 2),
        ([*_BACKTEST, "--every", "1m"], "--every: 1441 instants; expected 400 at most", 2),
        ([*_BACKTEST, "--set", "z_threshold"], "--set: 'z_threshold' sets nothing; expected NAME=VALUE", 2),
        ([*_BACKTEST, "--set", "zest=3"], "--set: cost has no threshold 'zest'; expected one of", 2),
        (["keys", "create", "--tenant", "acme", "--capability", "activity.everything"], "activity.everything", 2),
        (["keys", "create", "--tenant", "acme", "--expires-in", "soon"], "soon", 2),
        (["keys", "revoke", "nobody"], "nobody", 1),
        (["load", "/nonexistent"], "/nonexistent", 1),
        (["worker"], "ACTIVITY_BROKER_URL: not set", 2),
        (["beat"], "ACTIVITY_BROKER_URL: not set", 2),
        (["compute", "cost", "--tenant", "acme", "--as-of", "0001-01-01T00:00:00Z"], "an instant since 1970", 2),
        (["compute", "cost", "--tenant", "\udcff"], "argument 4: expected text in UTF-8", 2),
        (["compute", "cost", "--tenant", ""], "'--tenant': '' names no tenant; expected the name of one", 2),
        (["recompute", "--tenant", "", "--dry-run"], "'--tenant': '' names no tenant; expected the name of one", 2),
        (["recompute", "--tenant", "acme", "--tenant", " "], "'--tenant': ' ' names no tenant", 2),
        (["keys", "create", "--tenant", " "], "tenant: expected a name", 2),
        (["erase", "--tenant", "", "--yes"], "--tenant: expected the name of a tenant", 2),
        (["webhooks", "add", "--tenant", "a", "--url", "http://a.example/"], "url: expected an https URL", 2),
        (
            ["webhooks", "add", "--tenant", "a", "--url", "https://a.example/", "--kind", "x"],
            "kind: expected some of",
            2,
        ),
        (["webhooks", "remove", "7"], "webhook: 7 does not exist", 1),
        (["explain-item", "x", "--tenant", "a"], "fingerprint: expected", 2),
        (["load", "x" * 300], "xxx: File name too long", 1),
    ],
)
def test_a_wrong_call_is_answered_in_one_line(  # noqa: PLR0913, PLR0917  # a case is three of these
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    arguments: Sequence[str],
    expected: str,
    ended: int,
) -> None:
    """2 where the call itself is wrong, 1 where what it names is not there."""
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", database_url)

    code, out, err = run(capsys, *arguments)

    assert code == ended
    assert expected in err
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [["migrate"], ["status"], ["load", "."], ["keys", "list"], ["compute", "cost", "--tenant", "acme"]],
    ids=" ".join,
)
def test_a_database_that_is_down_is_named_without_its_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", NOWHERE)

    code, _, err = run(capsys, *arguments)

    assert code == 1
    assert len(err.strip().splitlines()) == 1 or "stands in" in err or arguments[0] == "load"
    assert "hunter2" not in err


@pytest.mark.parametrize("arguments", [["status"], ["keys", "list"], ["migrate", "--check"]], ids=" ".join)
def test_a_database_without_our_schema_asks_for_migrate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, empty_database: str, arguments: Sequence[str]
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", empty_database)

    code, _, err = run(capsys, *arguments)

    assert code == 1
    assert "activity migrate" in err


def test_a_malformed_setting_ends_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVITY_PATTERN_WINDOW_HOURS", "abc")

    code, _, err = run(capsys, "status")

    assert code == 2
    assert err.startswith("activity: ACTIVITY_PATTERN_WINDOW_HOURS: ")


def test_migrate_and_check_say_where_the_schema_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, empty_database: str
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", empty_database)

    assert run(capsys, "migrate")[0] == 0
    code, out, _ = run(capsys, "migrate", "--check")

    assert (code, out) == (0, f"schema at {SCHEMA_REVISION}\n")


def test_compute_prints_the_body_and_publishes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fresh_database: str
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    engine = connect(fresh_database)
    with engine.begin() as conn:
        insert_run(conn, id="run-1", tenant_id="acme", state="LIVE", risk_level="VIOLATED", completed_at=None)

    code, out, _ = run(capsys, "compute", "attention", "--tenant", "acme")

    body = json.loads(out)
    assert code == 0
    assert [item["run_id"] for item in body["queue"]] == ["run-1"]
    assert body["snapshot"] is None
    with engine.connect() as conn:
        assert conn.execute(text("select count(*) from signals.snapshot")).scalar_one() == 0
    engine.dispose()


def test_a_backtest_says_what_would_have_been_flagged_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fresh_database: str
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    engine = connect(fresh_database)
    with engine.begin() as conn:
        for cost, days in ((1, 3), (1.1, 3), (1.2, 3), (1.3, 0)):
            at = AS_OF - timedelta(days=days)
            insert_run(conn, tenant_id="acme", started_at=at, completed_at=at, estimated_cost_usd=cost)

    code, out, _ = run(capsys, *_BACKTEST, "--every", "12h", "--set", "z_threshold=9")

    lines = out.splitlines()
    assert code == 0
    assert "as it stands now" in lines[0]
    rows = [line.split() for line in lines if line.startswith("2026")]
    assert rows[0] == ["2026-01-16T12:00:00+00:00", "0", "0", "0", "0", "-"]
    assert rows[2] == ["2026-01-17T12:00:00+00:00", "1", "1", "0", "0", "-"]
    assert lines[-1] == "candidate thresholds: 1 items flagged, 0 acknowledged, 0 expected; nobody judged any"
    with engine.connect() as conn:
        assert conn.execute(text("select count(*) from signals.snapshot")).scalar_one() == 0
    engine.dispose()


@pytest.mark.parametrize(
    "arguments",
    [["compute", "attention", "--tenant", "acme"], ["recompute", "--signal", "attention", "--dry-run"]],
    ids=lambda arguments: arguments[0],
)
def test_what_is_computed_by_hand_has_the_limits_of_a_refresh(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fresh_database: str,
    arguments: Sequence[str],
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    monkeypatch.setenv("ACTIVITY_REFRESH_TIMEOUT_S", "37")
    limits: list[str] = []

    def remember(conn: Connection, _cursor: object, statement: str, *_: object) -> None:
        if "signals.source_run" in statement:
            limits.append(str(conn.exec_driver_sql("show statement_timeout").scalar_one()))

    event.listen(Engine, "before_cursor_execute", remember)
    try:
        code, _, _ = run(capsys, *arguments)
    finally:
        event.remove(Engine, "before_cursor_execute", remember)

    assert code == 0
    assert set(limits) == {"37s"}
