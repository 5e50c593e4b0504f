"""`activity capture`: install, look, remove."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from migrations import capture as triggers
from ops.commands.capture import capture
from ops.commands.doctor import doctor
from ops.commands.status import status
from snapshots.database import connect


@pytest.fixture
def database(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a migrated database that the commands are told of."""
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    return fresh_database


@pytest.mark.usefixtures("database")
def test_capture_is_installed_looked_at_and_removed() -> None:
    runner = CliRunner()

    before = runner.invoke(capture, ["status"])
    installed = runner.invoke(capture, ["install"])
    during = runner.invoke(capture, ["status"])
    removed = runner.invoke(capture, ["remove"])
    after = runner.invoke(capture, ["status"])

    assert [result.exit_code for result in (before, installed, during, removed, after)] == [1, 0, 0, 0, 1]
    assert "NOT captured: aos_trace_steps, aos_traces read in full" in before.output
    assert before.output.count("NOT captured: runs read in full") == 2
    assert during.output.count(": captured; 0 marks wait") == 3


def test_capture_that_was_disabled_for_a_while_is_a_problem_until_it_is_installed_again(database: str) -> None:
    engine = connect(database)
    triggers.install(engine)
    with engine.begin() as conn:
        conn.exec_driver_sql("alter table runs disable trigger all")
        conn.exec_driver_sql("insert into runs (id, goal, tenant_id) values ('run-1', '', 'acme')")
        conn.exec_driver_sql("alter table runs enable trigger all")
    engine.dispose()
    runner = CliRunner()

    looked = runner.invoke(capture, ["status"])
    report = runner.invoke(status)
    told = json.loads(runner.invoke(status, ["--json"]).output)
    examined = runner.invoke(doctor)
    runner.invoke(capture, ["install"])
    mended = [runner.invoke(each, words) for each, words in ((capture, ["status"]), (status, []), (doctor, []))]

    words = "runs: 0 of 3 triggers are enabled ALWAYS; `activity capture install` restores them"
    problems = [f"{signal}: capture is installed, but not relied on: {words}" for signal in ("cost", "attention")]
    assert (looked.exit_code, report.exit_code, examined.exit_code) == (1, 1, 1)
    assert looked.output.count(f"  {words}\n") == 2
    assert [line for line in problems if f"PROBLEM: {line}" not in report.output or line not in told["problems"]] == []
    assert "suspicious capture.cost: capture is installed, but not relied on: runs: 0 of 3" in examined.output
    assert "not captured: full refreshes" in report.output
    assert [each.output.count("not relied on") for each in mended] == [0, 0, 0]
    assert mended[0].exit_code == 0


@pytest.mark.usefixtures("database")
def test_capture_that_was_never_installed_is_no_problem() -> None:
    assert "not relied on" not in CliRunner().invoke(status).output
    assert "suspicious capture" not in CliRunner().invoke(doctor).output


def test_status_counts_the_marks_that_wait(database: str) -> None:
    engine = connect(database)
    triggers.install(engine)
    with engine.begin() as conn:
        conn.exec_driver_sql("insert into runs (id, goal, tenant_id) values ('run-1', '', 'acme')")
    engine.dispose()

    report = CliRunner().invoke(status).output.splitlines()

    # The lines of a signal follow its name.
    first = {signal: report.index(f"{signal}: never computed") for signal in ("patterns", "cost", "attention")}
    waiting = [signal for signal, number in first.items() if "1 marks wait" in report[number + 2]]
    assert waiting == ["attention"]
