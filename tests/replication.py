"""A pglogical provider and its subscriber: two databases of one PostgreSQL 15 server."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, make_url, select, text

from migrations import capture
from ops.local.embedded.postgres import PostgresCluster
from snapshots.database import connect
from snapshots.signals import WORKER_ROLE
from tests.factories import insert_run, insert_step, insert_trace
from tests.postgres import BINARIES, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import Connection, Engine

#: An apply worker is started, and brings a transaction, within so long; seconds.
PATIENCE_S: Final = 60.0
#: The runs that `plant` inserts, and the steps of each.
RUNS: Final = 60
STEPS: Final = 5
_TABLES: Final = ("runs", "aos_traces", "aos_trace_steps")
_CONTROL: Final = Path("/usr/share/postgresql/15/extension/pglogical.control")
_LOGICAL: Final = {
    "shared_preload_libraries": "pglogical",
    "wal_level": "logical",
    "max_worker_processes": "24",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "track_commit_timestamp": "on",
}


def missing() -> str | None:
    """Return why no server with pglogical can be started here, None when one can."""
    server = BINARIES["pg15"] / "postgres"
    if not server.is_file():
        return f"{server} is absent: Debian's PostgreSQL 15 is not installed"
    if not _CONTROL.is_file():
        return f"{_CONTROL} is absent: the Debian package postgresql-15-pglogical is not installed"
    return None


class LogicalServer(Server):
    """A server that runs pglogical."""

    @cached_property
    def cluster(self) -> PostgresCluster:
        """Return the cluster, started."""
        cluster = PostgresCluster(BINARIES[self.name], self.folder / "logical", durable=False, settings=_LOGICAL)
        cluster.start()
        return cluster


@dataclass(frozen=True, slots=True)
class Subscription:
    """Engines on a provider and on its subscriber as the owner, and on the subscriber as the worker."""

    provider: Engine
    subscriber: Engine
    worker: Engine


@contextmanager
def subscription(server: LogicalServer) -> Iterator[Subscription]:
    """Yield a provider and its subscriber, both with change capture, once rows are replicated."""
    urls = [server.create_migrated_database() for _ in range(2)]
    owners = [connect(url) for url in urls]
    supers = [connect(_superuser_url(server, url)) for url in urls]
    for owner, superuser, name in zip(owners, supers, ("provider", "subscriber"), strict=True):
        capture.install(owner)
        with superuser.begin() as conn:
            conn.exec_driver_sql("create extension pglogical")
        place = _superuser_url(server, str(owner.url.render_as_string(hide_password=False)))
        call(superuser, "select pglogical.create_node(:name, :place)", name=name, place=place)
    for table in _TABLES:
        add = "select pglogical.replication_set_add_table('default', cast(:table as regclass))"
        call(supers[0], add, table=table)
    subscribe = "select pglogical.create_subscription('hosts', :place, synchronize_structure := false)"
    call(supers[1], subscribe, place=_superuser_url(server, urls[0]))
    worker = connect(server.url_as(WORKER_ROLE, urls[1]))
    until(lambda: call(supers[1], "select status from pglogical.show_subscription_status()") == "replicating")
    yield Subscription(owners[0], owners[1], worker)
    call(supers[1], "select pglogical.drop_subscription('hosts')")
    for engine in (*owners, *supers, worker):
        engine.dispose()
    # The databases go with the server: DROP DATABASE and pglogical's manager may wait for each other without end.


def _superuser_url(server: Server, url: str) -> str:
    return server.cluster.superuser_url(str(make_url(url).database))


def call(engine: Engine, statement: str, **binds: object) -> object:
    """Run a statement in a transaction of its own and return its first value."""
    with engine.begin() as conn:
        return conn.execute(text(statement), binds).scalar()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for the apply worker."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def plant(conn: Connection) -> None:
    """Insert 60 runs that each signal has something to say of, and 300 steps."""
    start: datetime = conn.execute(select(func.now() - text("interval '1 minute'"))).scalar_one()
    for number in range(RUNS):
        name = f"run-{number}"
        insert_run(conn, id=name, risk_level="VIOLATED", state="LIVE", started_at=start, estimated_cost_usd=1)
        insert_trace(conn, trace_id=name, run_id=name, started_at=start)
        for index in range(STEPS):
            insert_step(conn, name, index, retry_count=2)
