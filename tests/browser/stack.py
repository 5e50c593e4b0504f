"""An installation with demo data, and the actions of tests on it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psutil
from sqlalchemy import delete, select, text, update

from ops.keys import create_key, revoke_key
from ops.local.demo.agents import DEMO_TENANT
from snapshots import keys
from snapshots.database import connect
from snapshots.signals import CAPABILITIES
from snapshots.tables import freshness
from tests.factories import insert_run, insert_step, insert_trace
from tests.ops.up import Up, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine

OTHER_TENANT: Final = "globex-research"
#: Short periods, so that tests wait seconds for a refresh.
_SETTINGS: Final = {
    "ACTIVITY_PATTERNS_PERIOD_S": "2",
    "ACTIVITY_COST_PERIOD_S": "2",
    "ACTIVITY_ATTENTION_PERIOD_S": "2",
    "ACTIVITY_ATTENTION_RESCORE_S": "30",
}
_PATIENCE_S: Final = 60.0


class Stack:
    """A running installation: URL, keys, and the database as its owner."""

    def __init__(self, up: Up) -> None:
        """Wait until the started installation is ready."""
        self._up = up
        ready = up.ready()
        self.url = str(ready["url"]).rstrip("/")
        self.demo_key = str(ready["api_key"])
        self._engine: Engine = connect(str(ready["database_url"]), name="browser tests")
        self._keys: dict[tuple[str, tuple[str, ...]], str] = {}

    def key(self, tenant: str = DEMO_TENANT, capabilities: Sequence[str] = CAPABILITIES) -> str:
        """Return a key of `tenant` that has these capabilities."""
        wanted = (tenant, tuple(capabilities))
        if wanted not in self._keys:
            with self._engine.begin() as conn:
                self._keys[wanted] = create_key(conn, tenant, capabilities=capabilities).token
        return self._keys[wanted]

    def revoke(self, token: str) -> None:
        """Revoke a key."""
        parts = keys.parse(token)
        assert parts is not None
        with self._engine.begin() as conn:
            revoke_key(conn, parts[0])

    def run_ids(self, tenant: str) -> set[str]:
        """Return the ids of all runs of a tenant."""
        with self._engine.connect() as conn:
            return set(
                conn.execute(text("select id from public.runs where tenant_id = :tenant"), {"tenant": tenant}).scalars()
            )

    def agent_ids(self, tenant: str) -> set[str]:
        """Return the ids of all agents of a tenant."""
        asked = text("select distinct agent_id from public.runs where tenant_id = :tenant")
        with self._engine.connect() as conn:
            return set(conn.execute(asked, {"tenant": tenant}).scalars())

    def plant(self, tenant: str) -> str:
        """Add a run for all three signals, of an agent with a baseline; return its id."""
        now = datetime.now(UTC) - timedelta(minutes=5)
        with self._engine.begin() as conn:
            return _plant(conn, tenant, now)

    def add_runs(self, tenant: str, *, cost_usd: float | None = None, **columns: object) -> list[str]:
        """Add three runs that completed a minute ago and return their ids; an agent of its own unless one is named."""
        at = datetime.now(UTC) - timedelta(minutes=1)
        times: dict[str, Any] = {
            "started_at": at,
            "last_seen_at": at,
            "completed_at": at,
            "estimated_cost_usd": cost_usd,
        }
        owner = {"tenant_id": tenant, "agent_id": f"{tenant}-agent"}
        with self._engine.begin() as conn:
            return [insert_run(conn, **{**owner, **times, **columns}) for _ in range(3)]

    def remove(self, tenant: str) -> None:
        """Delete every run of a tenant."""
        with self._engine.begin() as conn:
            for name in ("aos_traces", "runs"):
                conn.execute(text(f"delete from public.{name} where tenant_id = :tenant"), {"tenant": tenant})  # noqa: S608  # two names

    @contextmanager
    def stopped_worker(self) -> Iterator[None]:
        """Suspend the worker."""
        family = self._worker()
        for process in family:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in family:
                process.send_signal(signal.SIGCONT)

    def age(self, by: timedelta) -> None:
        """Move the last refresh of every signal into the past."""
        with self._engine.begin() as conn:
            conn.execute(
                update(freshness).values(verified_at=freshness.c.verified_at - by, as_of=freshness.c.as_of - by)
            )

    def forget(self, name: str) -> None:
        """Delete the freshness of a signal, as if it had never been computed."""
        with self._engine.begin() as conn:
            conn.execute(delete(freshness).where(freshness.c.signal == name))

    def refreshed(self) -> None:
        """Wait until every signal was computed for a later instant than this."""
        oldest = select(text("min(as_of)")).select_from(freshness)
        deadline = time.monotonic() + _PATIENCE_S
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            now = conn.execute(text("select clock_timestamp()")).scalar_one()
            while conn.execute(oldest).scalar_one() <= now:
                assert time.monotonic() < deadline, "no refresh computed the signals"
                time.sleep(0.1)

    def close(self) -> None:
        """Close the database connections and stop the installation."""
        self._engine.dispose()
        self._up.stop()

    def _worker(self) -> list[psutil.Process]:
        children = psutil.Process(self._up.process.pid).children()
        [worker] = [each for each in children if each.cmdline()[-1] == "worker"]
        return [worker, *worker.children(recursive=True)]


def start(folder: Path) -> Stack:
    """Start an installation in `folder`, with short periods, and wait until it is ready."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251  # the child's own
    up = Up(folder / "console", free_port(), env={**kept, **_SETTINGS})
    try:
        return Stack(up)
    except BaseException:
        up.stop()
        raise


def _plant(conn: Connection, tenant: str, now: datetime) -> str:
    ids = {"tenant_id": tenant, "agent_id": f"{tenant}-agent"}
    for day in range(2, 6):
        before = now - timedelta(days=day)
        for number in range(6):
            insert_run(
                conn,
                id=f"{tenant}-{day}-{number}",
                **ids,
                started_at=before,
                completed_at=before,
                estimated_cost_usd=0.01 + 0.001 * number,
            )
    run_id = insert_run(
        conn,
        id=f"{tenant}-stuck",
        **ids,
        status="failed",
        risk_level="VIOLATED",
        policy_violation=True,
        started_at=now,
        last_seen_at=now,
        completed_at=now + timedelta(minutes=1),
        duration_ms=60_000.0,
        estimated_cost_usd=0.2,
    )
    trace_id = insert_trace(conn, trace_id=f"trace-{run_id}", tenant_id=tenant, run_id=run_id, started_at=now)
    for index in range(5):
        at = now + timedelta(seconds=10 * index)
        insert_step(
            conn, trace_id, index, skill_id="search", retry_count=int(index < 4), timestamp=at, duration_ms=6000.0
        )
    return run_id
