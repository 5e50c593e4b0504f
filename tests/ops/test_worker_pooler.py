"""Work that spans transactions refuses a pooler that shares sessions, and leaves no lock behind one that does not."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from ops.cli import activity
from snapshots import pooling, settings
from snapshots.database import connect
from snapshots.errors import SettingsError
from snapshots.signals import LOCK_CLASS
from snapshots.tables import freshness
from tests.factories import insert_run
from tests.ops.processes import running, until
from tests.pooler import pooled
from worker.app import create_app
from worker.engine import ledger, locks
from worker.engine.context import RefreshRequest
from worker.engine.refresh import refresh
from worker.schedule import RECOMPUTE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

_REFUSAL = "a pooler shares one session among several clients"


@pytest.fixture
def owner(fresh_database: str) -> Iterator[Engine]:
    engine = connect(fresh_database)
    yield engine
    engine.dispose()


def advisory_locks(owner: Engine) -> int:
    held = text("select count(*) from pg_locks where locktype = 'advisory' and classid = :ours")
    with owner.connect() as conn:
        return int(conn.execute(held, {"ours": LOCK_CLASS}).scalar_one())


@pytest.mark.parametrize("size", [1, 2, 20])
@pytest.mark.parametrize("more", ["", "server_round_robin = 1\n"])
def test_transaction_mode_is_told_from_session_mode(fresh_database: str, size: int, more: str) -> None:
    with (
        pooled([fresh_database], mode="transaction", size=size, more=more) as (url,),
        pytest.raises(SettingsError, match=f"^ACTIVITY_X: {_REFUSAL}"),
    ):
        pooling.check(url, "ACTIVITY_X")

    with pooled([fresh_database], mode="session", size=size + 3, more=more) as (url,):
        pooling.check(url, "ACTIVITY_X")
    pooling.check(fresh_database, "ACTIVITY_X")


def test_transaction_mode_is_known_among_other_clients(fresh_database: str) -> None:
    """Whose transactions hold most of the pooler's sessions."""
    with pooled([fresh_database], mode="transaction", size=6) as (url,):
        engine = connect(url, pool_size=4)
        others = [engine.connect() for _ in range(4)]
        for other in others:
            other.execute(text("select 1"))
        with pytest.raises(SettingsError, match=_REFUSAL):
            pooling.check(url, "ACTIVITY_X")
        for other in others:
            other.close()
        engine.dispose()


@pytest.mark.parametrize(
    "arguments",
    [
        ("worker",),
        ("migrate",),
        ("load", "pyproject.toml"),
        ("erase", "--tenant", "acme", "--yes"),
        ("detach",),
        ("attach",),
        ("uninstall", "--yes"),
    ],
)
def test_a_command_that_needs_a_session_refuses_transaction_mode(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ACTIVITY_BROKER_URL", "redis://127.0.0.1:1/0")
    with pooled([fresh_database], mode="transaction") as (url,):
        monkeypatch.setenv("ACTIVITY_DATABASE_URL", url.render_as_string(hide_password=False))
        refused = CliRunner().invoke(activity, arguments)

    assert isinstance(refused.exception, SettingsError)
    assert str(refused.exception).startswith(f"ACTIVITY_DATABASE_URL: {_REFUSAL}")
    assert "expected a direct connection, or a pooler with pool_mode=session" in str(refused.exception)


def test_the_variable_that_is_named_is_the_one_that_leads_there(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVITY_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    with pooled([fresh_database], mode="transaction") as (url,):
        monkeypatch.setenv("ACTIVITY_WORKER_DATABASE_URL", url.render_as_string(hide_password=False))
        refused = CliRunner().invoke(activity, ["worker"])

    assert str(refused.exception).startswith(f"ACTIVITY_WORKER_DATABASE_URL: {_REFUSAL}")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_locks_end_with_their_owner_behind_a_pooler(owner: Engine, fresh_database: str, mode: str) -> None:
    with pooled([fresh_database], mode=mode) as (url,):
        behind = connect(url)
        with locks.held(behind, "cost", [1, 2]) as lock:
            assert lock is not None
            assert advisory_locks(owner) == 2
        assert advisory_locks(owner) == 0
        lost = behind.connect()
        with locks.held(lost.engine, "cost", range(4)):
            behind.dispose()
            assert advisory_locks(owner) == 4
        until(lambda: advisory_locks(owner) == 0, "its connection is gone")
        lost.close()


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_behind_session_mode_leaves_no_lock(
    owner: Engine, fresh_database: str, valkey_url: str, tmp_path: Path, ended_by: signal.Signals
) -> None:
    with owner.begin() as conn:
        insert_run(conn, id="run-1", tenant_id="acme")
    with pooled([fresh_database], mode="session") as (url,):
        variables = {
            "ACTIVITY_DATABASE_URL": url.render_as_string(hide_password=False),
            "ACTIVITY_BROKER_URL": valkey_url,
        }
        with running(tmp_path / "worker", variables, "worker") as worker:
            until(lambda: _confirmed(owner) == 3, "every signal is published")
            with owner.begin() as conn:
                conn.execute(text("lock table public.runs in access exclusive mode"))
                ask(owner, valkey_url)
                until(lambda: advisory_locks(owner) > 0, "a refresh waits for the table")
                family = [worker, *worker.children(recursive=True)]
                for process in family if ended_by == signal.SIGKILL else family[:1]:
                    process.send_signal(ended_by)
                if ended_by == signal.SIGKILL:
                    until(lambda: advisory_locks(owner) == 0, "the locks are free, although the table is not")
            worker.wait(60)
        until(lambda: advisory_locks(owner) == 0, "the locks are free")
    assert refresh(owner, "attention", settings.load(), mode="reconcile") is not None


def ask(owner: Engine, broker_url: str) -> None:
    """Ask for a recompute of the costs, as an operator does."""
    with owner.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="a test"))
    create_app(settings.load(broker_url=broker_url)).send_task(RECOMPUTE, args=[asked])


def _confirmed(owner: Engine) -> int:
    with owner.connect() as conn:
        return len(conn.execute(select(freshness.c.signal).distinct()).all())
