"""Change capture on a database that a pglogical subscription writes to: its apply worker fires no statement trigger."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import func, make_url, select, text

from migrations import capture
from ops.local.embedded.postgres import PostgresCluster
from snapshots import settings
from snapshots.database import connect
from snapshots.signals import WORKER_ROLE
from snapshots.tables import snapshot
from tests.factories import insert_run, insert_step, insert_trace
from tests.postgres import BINARIES, Server
from worker.engine import capture_trust
from worker.engine.refresh import refresh
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import Connection, Engine

#: With the slower period as long as the others, a test need not wait.
SETTINGS: Final = settings.load(uncaptured_period_s=30, attention_rescore_s=30)
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
#: An apply worker is started, and brings a transaction, within so long; seconds.
_PATIENCE_S: Final = 60.0

pytestmark = pytest.mark.skipif(
    not _CONTROL.is_file(), reason=f"{_CONTROL} is absent: the Debian package postgresql-15-pglogical is not installed"
)


class LogicalServer(Server):
    """A server that runs pglogical."""

    @cached_property
    def cluster(self) -> PostgresCluster:
        """Return the cluster, started."""
        cluster = PostgresCluster(BINARIES[self.name], self.folder / "logical", durable=False, settings=_LOGICAL)
        cluster.start()
        return cluster


@pytest.fixture(scope="module")
def logical_server(private_folder: Path) -> Iterator[LogicalServer]:
    """Yield a running server with pglogical."""
    server = LogicalServer("pg15", private_folder)
    yield server
    server.stop()


@pytest.fixture
def replicated(logical_server: LogicalServer) -> Iterator[tuple[Engine, Engine]]:
    """Yield engines on a provider and on its subscriber, both captured; the second as the worker."""
    urls = [logical_server.create_migrated_database() for _ in range(2)]
    owners = [connect(url) for url in urls]
    supers = [connect(superuser_url(logical_server, url)) for url in urls]
    for owner, superuser, name in zip(owners, supers, ("provider", "subscriber"), strict=True):
        capture.install(owner)
        with superuser.begin() as conn:
            conn.exec_driver_sql("create extension pglogical")
        place = superuser_url(logical_server, str(owner.url.render_as_string(hide_password=False)))
        call(superuser, "select pglogical.create_node(:name, :place)", name=name, place=place)
    for table in _TABLES:
        add = "select pglogical.replication_set_add_table('default', cast(:table as regclass))"
        call(supers[0], add, table=table)
    subscribe = "select pglogical.create_subscription('hosts', :place, synchronize_structure := false)"
    call(supers[1], subscribe, place=superuser_url(logical_server, urls[0]))
    worker = connect(logical_server.url_as(WORKER_ROLE, urls[1]))
    until(lambda: call(supers[1], "select status from pglogical.show_subscription_status()") == "replicating")
    yield owners[0], worker
    call(supers[1], "select pglogical.drop_subscription('hosts')")
    for engine in (*owners, *supers, worker):
        engine.dispose()
    for url in urls:
        logical_server.drop_database(url)


def superuser_url(server: Server, url: str) -> str:
    return server.cluster.superuser_url(str(make_url(url).database))


def call(engine: Engine, statement: str, **binds: object) -> object:
    with engine.begin() as conn:
        return conn.execute(text(statement), binds).scalar()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for the apply worker."""
    deadline = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def plant(conn: Connection) -> None:
    """Insert 60 runs that each signal has something to say of, and 300 steps."""
    start: datetime = conn.execute(select(func.now() - text("interval '1 minute'"))).scalar_one()
    for number in range(60):
        name = f"run-{number}"
        insert_run(conn, id=name, risk_level="VIOLATED", state="LIVE", started_at=start, estimated_cost_usd=1)
        insert_trace(conn, trace_id=name, run_id=name, started_at=start)
        for index in range(5):
            insert_step(conn, name, index, retry_count=2)


def test_rows_that_pglogical_applies_are_published_and_the_reason_is_said(replicated: tuple[Engine, Engine]) -> None:
    provider, worker = replicated
    for _ in range(2):
        for name in SIGNALS:
            refresh(worker, name, SETTINGS)
    with provider.begin() as conn:
        plant(conn)
    until(lambda: call(worker, "select count(*) from signals.source_step") == 300)

    methods = {name: done.method for name in SIGNALS if (done := refresh(worker, name, SETTINGS))}

    assert methods == dict.fromkeys(SIGNALS, "full")
    with worker.connect() as conn:
        assert set(conn.execute(select(snapshot.c.signal).where(snapshot.c.tenant_id == "acme")).scalars()) == {
            *SIGNALS
        }
        for signal in SIGNALS.values():
            trust = capture_trust.read(conn, signal)
            assert (trust.is_captured, trust.is_lost) == (False, True)
            assert trust.losses == [
                "an apply worker of the extension pglogical writes to this database without firing triggers"
            ]


def test_the_provider_of_a_subscription_is_captured(replicated: tuple[Engine, Engine]) -> None:
    with replicated[0].connect() as conn:
        assert all(capture_trust.read(conn, signal).is_captured for signal in SIGNALS.values())
