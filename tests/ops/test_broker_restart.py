"""A broker that restarts under a worker at work, and a process that is killed: the refresh goes on, or begins again."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import redis
from sqlalchemy import select, text

from ops.local.embedded.valkey import ValkeyServer
from snapshots import settings
from snapshots.database import connect
from snapshots.tables import refresh
from tests.ops.processes import running, until
from worker.app import create_app
from worker.engine import ledger
from worker.engine.context import RefreshRequest
from worker.schedule import RECOMPUTE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psutil
    from sqlalchemy import Engine

_WAITING = text("select count(*) from pg_locks where locktype = 'relation' and not granted")


@dataclass
class Busy:
    """A worker whose only process waits for a lock that the test holds, for the sake of one request."""

    owner: Engine
    valkey: ValkeyServer
    folder: Path
    worker: psutil.Popen | None = None
    refresh_id: int = 0

    @contextmanager
    def at_work(self) -> Iterator[psutil.Popen]:
        """Run the worker until it has begun; let go of the lock at the end, and wait until it has succeeded."""
        url = self.owner.url.render_as_string(hide_password=False)
        variables = {
            "ACTIVITY_DATABASE_URL": url,
            "ACTIVITY_BROKER_URL": self.valkey.url,
            "ACTIVITY_REFRESH_LOCK_TIMEOUT_S": "240",
        }
        arguments = ("worker", "--queues", "manual", "--concurrency", "1")
        with running(self.folder / "worker", variables, *arguments) as worker:
            with self.owner.begin() as conn:
                conn.execute(text("lock table public.runs in access exclusive mode"))
                self._ask()
                until(lambda: self.waiting() == 1, "the refresh has begun")
                yield worker
            until(lambda: self.state() == "succeeded", "the refresh goes on", patience_s=30)

    def waiting(self) -> int:
        """Return how many sessions wait for the lock."""
        with self.owner.connect() as conn:
            return int(conn.execute(_WAITING).scalar_one())

    def state(self) -> str:
        """Return the request's state in the ledger."""
        with self.owner.connect() as conn:
            return str(
                conn.execute(select(refresh.c.state).where(refresh.c.refresh_id == self.refresh_id)).scalar_one()
            )

    def _ask(self) -> None:
        with self.owner.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
            self.refresh_id = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="a test"))
        create_app(settings.load(broker_url=self.valkey.url)).send_task(RECOMPUTE, args=[self.refresh_id])


@pytest.fixture
def busy(fresh_database: str, tmp_path: Path) -> Iterator[Busy]:
    valkey = ValkeyServer(tmp_path / "valkey")
    valkey.start()
    owner = connect(fresh_database)
    yield Busy(owner, valkey, tmp_path)
    owner.dispose()
    valkey.stop()


def test_a_refresh_outlives_a_restart_of_the_broker(busy: Busy) -> None:
    """Were it ended, its message would come back after the visibility timeout, ten minutes later."""
    with busy.at_work():
        log = busy.folder / "worker"
        busy.valkey.stop()
        until(lambda: "Connection to broker lost" in log.read_text(), "the worker notices")
        busy.valkey.start()
        until(lambda: log.read_text().count("Connected to redis") == 2, "the worker is back")

    with redis.Redis.from_url(busy.valkey.url) as client:
        until(lambda: (client.hlen("unacked"), client.llen("manual")) == (0, 0), "its message is gone")


def test_the_message_of_a_killed_process_is_delivered_again_at_once(busy: Busy) -> None:
    with busy.at_work() as worker:
        (process,) = (each for each in worker.children() if "resource_tracker" not in " ".join(each.cmdline()))
        process.send_signal(signal.SIGKILL)
        until(lambda: busy.waiting() == 2, "another process has begun it, beside the session that was left behind")
