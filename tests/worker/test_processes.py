"""Real Celery processes on a real broker: what beat schedules and what an operator asks for gets published."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, text

from migrations import capture
from ops.commands.recompute import recompute
from ops.commands.status import status
from snapshots import settings
from snapshots.signals import SIGNALS
from snapshots.tables import freshness, refresh, snapshot
from tests.factories import insert_run, insert_step, insert_trace
from worker.app import create_app
from worker.engine import ledger
from worker.engine.context import RefreshRequest
from worker.schedule import RECOMPUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
POLL_S = 0.1


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, fresh_database: str, broker_url: str) -> dict[str, str]:
    """Return the settings of the processes, which are those of this process too."""
    variables = {
        "ACTIVITY_DATABASE_URL": fresh_database,
        "ACTIVITY_BROKER_URL": broker_url,
        "ACTIVITY_PATTERNS_PERIOD_S": "2",
        "ACTIVITY_COST_PERIOD_S": "2",
        "ACTIVITY_ATTENTION_PERIOD_S": "2",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `activity` with `arguments` as a child that is gone afterwards."""
    command = [sys.executable, "-m", "ops.cli", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), start_new_session=True)  # noqa: TID251  # the child's settings
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in {PATIENCE_S:.0f} s: {what}"
        time.sleep(POLL_S)


def plant(conn: Connection, run_id: str) -> None:
    """Insert a run that every signal finds."""
    now = conn.execute(select(func.now())).scalar_one()
    started_at = now - timedelta(hours=1)
    insert_run(conn, id=run_id, tenant_id="acme", started_at=started_at, completed_at=now, risk_level="VIOLATED")
    insert_trace(conn, trace_id=f"t-{run_id}", run_id=run_id, tenant_id="acme", started_at=started_at)
    insert_step(conn, trace_id=f"t-{run_id}", step_index=0, retry_count=5)


def published(engine: Engine, run_id: str) -> bool:
    """Tell whether the attention queue of the tenant names a run."""
    with engine.connect() as conn:
        content = select(snapshot.c.content).where(snapshot.c.signal == "attention", snapshot.c.tenant_id == "acme")
        return f'"{run_id}"' in (conn.execute(content).scalar_one_or_none() or "")


def count(engine: Engine, *conditions: object) -> int:
    with engine.connect() as conn:
        rows = select(func.count()).select_from(refresh).where(*conditions)  # type: ignore[arg-type]  # SQL expressions
        return int(conn.execute(rows).scalar_one())


@pytest.mark.usefixtures("environment")
def test_beat_schedules_what_a_worker_publishes_again_and_again(engine: Engine) -> None:
    capture.install(engine)
    with engine.begin() as conn:
        plant(conn, "run-1")
    with running("worker"), running("beat"):
        eventually(lambda: published(engine, "run-1"), "the first refresh")
        with engine.begin() as conn:
            plant(conn, "run-2")
        eventually(lambda: published(engine, "run-2"), "a scheduled refresh")
        with engine.connect() as conn:
            eventually(
                lambda: set(conn.execute(select(freshness.c.signal)).scalars()) == set(SIGNALS),
                "every signal published",
            )
        report = CliRunner().invoke(status)
    assert report.exit_code == 0, report.output
    assert "beat alive" in report.output
    assert count(engine, refresh.c.mode == "tick", refresh.c.state == "succeeded") >= len(SIGNALS)
    assert count(engine, refresh.c.state == "failed") == 0


@pytest.mark.usefixtures("environment")
def test_a_manual_recompute_goes_through_the_broker_and_is_waited_for(engine: Engine) -> None:
    with running("worker", "--queues", "manual"):
        with engine.begin() as conn:
            plant(conn, "run-1")
        asked = CliRunner().invoke(recompute, ["--signal", "attention", "--tenant", "acme", "--wait"])
    assert asked.exit_code == 0, asked.output
    assert "1 of 1 tenants changed" in asked.output
    assert published(engine, "run-1")
    with engine.connect() as conn:
        row = conn.execute(select(refresh).where(refresh.c.mode == "manual")).one()
    assert (row.state, row.tenants) == ("succeeded", ["acme"])


@pytest.mark.usefixtures("environment")
def test_a_message_that_is_delivered_twice_does_its_work_once(engine: Engine) -> None:
    app = create_app(settings.load())
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        refresh_id = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="a test"))
        sentinel = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="a test"))
    for wanted in (refresh_id, refresh_id, sentinel):
        app.send_task(RECOMPUTE, args=[wanted])

    with running("worker", "--queues", "manual", "--concurrency", "1"):
        eventually(lambda: count(engine, refresh.c.state == "succeeded") == 2, "both requests")

    with engine.connect() as conn:
        fences = conn.execute(text("select last_value from signals.fence")).scalar_one()
    assert fences == 2


def test_a_dry_run_shows_the_difference_and_publishes_nothing(engine: Engine, environment: dict[str, str]) -> None:
    del environment["ACTIVITY_BROKER_URL"]  # computed in place: no broker is needed
    with engine.begin() as conn:
        plant(conn, "run-1")

    shown = CliRunner().invoke(recompute, ["--dry-run"])

    assert shown.exit_code == 0, shown.output
    assert '+      "run_id": "run-1",' in shown.output
    assert "attention: 1 tenants would change" in shown.output
    assert not published(engine, "run-1")
    assert count(engine) == 0


def test_a_broker_that_is_down_leaves_a_failed_request_behind(
    engine: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment
    monkeypatch.setenv("ACTIVITY_BROKER_URL", "redis://127.0.0.1:1/0")

    asked = CliRunner().invoke(recompute, ["--signal", "cost"])

    assert asked.exit_code != 0
    assert "ACTIVITY_BROKER_URL" in str(asked.exception)
    assert count(engine, refresh.c.state == "failed", refresh.c.error_class == "BrokerUnavailableError") == 1


def test_without_anything_computed_status_says_so_and_fails(engine: Engine, environment: dict[str, str]) -> None:
    assert environment
    assert engine

    report = CliRunner().invoke(status, ["--json"])

    assert report.exit_code == 1
    assert '"fresh": false' in report.output
