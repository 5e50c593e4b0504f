"""A table that is locked holds up the signals that read it, and nothing else: real processes, real locks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, text

from migrations import capture
from ops.commands.recompute import recompute
from ops.commands.status import status
from snapshots.tables import refresh
from tests.factories import insert_run
from tests.worker.test_locks import host_lock
from tests.worker.test_notify import Receiver, receiver
from tests.worker.test_notify import add as add_webhook
from tests.worker.test_processes import count, environment, eventually, plant, published, running

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["environment", "receiver"]

#: With periods of two seconds: the time within which a change is published although another signal is locked.
_IN_TIME_S: Final = 10.0
_CHANGES: Final = 4


def risky_run(engine: Engine, run_id: str) -> None:
    with engine.begin() as conn:
        now = conn.execute(select(func.now())).scalar_one()
        insert_run(conn, id=run_id, tenant_id="acme", started_at=now, completed_at=now, risk_level="VIOLATED")


def seconds_until_told(engine: Engine, receiver: Receiver, run_id: str) -> float:
    """Insert a run, and return the seconds until attention names it and the webhook was told."""
    before, begun = len(receiver.requests), time.monotonic()
    risky_run(engine, run_id)
    eventually(lambda: published(engine, run_id), "attention goes on")
    eventually(lambda: len(receiver.requests) > before, "its webhook is told")
    return time.monotonic() - begun


def is_open(engine: Engine, *, state: str) -> bool:
    return count(engine, refresh.c.mode == "manual", refresh.c.state == state) == 1


@pytest.mark.usefixtures("environment")
def test_a_locked_table_holds_up_no_other_signal_and_no_webhook(
    engine: Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"REFRESH_LOCK_TIMEOUT_S": "3", "NOTIFY_PERIOD_S": "1", "NOTIFY_PRIVATE": "true"}.items():
        monkeypatch.setenv(f"ACTIVITY_{name}", value)
    capture.install(engine)
    with engine.begin() as conn:
        plant(conn, "run-0")
    add_webhook(engine, receiver)
    with running("worker"), running("beat"):
        eventually(lambda: published(engine, "run-0"), "the first refresh")
        with host_lock(engine, "public.aos_traces") as pid:
            asked = CliRunner().invoke(recompute, ["--signal", "patterns"])
            assert asked.exit_code == 0, asked.output
            for number in range(1, _CHANGES + 1):
                assert seconds_until_told(engine, receiver, f"run-{number}") < _IN_TIME_S
            eventually(lambda: is_open(engine, state="requested"), "the request is put back")
            report = CliRunner().invoke(status).output
        eventually(lambda: is_open(engine, state="succeeded"), "the request is done once the lock is gone")

    assert f"aos_traces is locked by pid {pid} (" in report
    with engine.connect() as conn:
        classes = select(refresh.c.error_class).where(refresh.c.state == "failed").distinct()
        assert conn.execute(classes).scalars().all() == ["LockTimeoutError"]
        assert conn.execute(text("select count(*) from pg_locks where locktype = 'advisory'")).scalar_one() == 0
