"""Installation under test: servers, a filled database, and its processes, all real and our own."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis
from sqlalchemy import func, make_url, select, text
from sqlalchemy.exc import DBAPIError

from benchmarks.scales import Scale, fill
from migrations import capture, runner
from ops.keys import create_key
from ops.local import backing_services, children
from ops.local.embedded.postgres import EMBEDDED_BINARIES, PostgresCluster
from ops.local.embedded.valkey import ValkeyServer
from ops.local.programs import operator_urls, program
from ops.local.startup import api_is_ready, clock, unpublished
from snapshots import database, settings
from snapshots.errors import ActivityError
from snapshots.setting_files import PREFIX
from tests.chaos.crew import Crew
from worker.app import create_app

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    from celery import Celery
    from sqlalchemy import Engine

    from ops.local.supervisor import Program
    from snapshots.settings import Settings

HOST: Final = "127.0.0.1"
DATABASE: Final = "activity"
ROOT: Final = Path(__file__).parents[2]
#: Tenants whose answers are read all the time. Hosts write for the first ones; the poisoned one changes when it is
#: poisoned and at no other time; the last two have no rows at first, and one of them never has.
POISONED: Final = "tenant_brittle"
STRANGE: Final = "tenant_strange"
TENANTS: Final = ("tenant_00001", "tenant_00002", "tenant_00040", "tenant_00150", POISONED, STRANGE, "tenant_empty")
#: Processes by name; a worker has two children.
_NAMES: Final = {"worker-1": "worker", "worker-2": "worker", "beat-1": "beat", "beat-2": "beat", "api": "api"}
#: Short periods, so that many refreshes meet each fault; the rest is as installed.
VARIABLES: Final[dict[str, Any]] = {
    "patterns_period_s": 3,
    "cost_period_s": 4,
    "attention_period_s": 2,
    "reconcile_period_s": 30,
    "prune_period_s": 20,
    "refresh_timeout_s": 20,
    "shards": 2,
    "worker_concurrency": 2,
    "access_log": "false",
}
_SCALE: Final = Scale(runs=4_000, tenants=200, days=8)
_OLD_DAYS: Final = 30
_POLL_S: Final = 0.1
_START_S: Final = 90.0


class World:
    """One installation with all that it needs; `start`, then faults, then `stop`."""

    def __init__(self, folder: Path) -> None:
        """Describe it; nothing happens before `start`."""
        self.folder = folder
        self.postgres = PostgresCluster(EMBEDDED_BINARIES, folder / "postgres")
        self.valkey = ValkeyServer(folder / "valkey")
        self.crew = Crew(folder / "log")
        self.keys: dict[str, str] = {}
        self.settings: Settings
        self.engine: Engine
        self.superuser: Engine
        self.app: Celery

    def start(self) -> None:
        """Start the servers, fill the database, start the processes, and wait until every signal is published."""
        self.postgres.start()
        self.valkey.start()
        self._settle()
        fill(self.engine, _SCALE)
        capture.install(self.engine)
        self._leave_old_history()
        with self.engine.begin() as conn:
            self.keys = {tenant: create_key(conn, tenant).token for tenant in TENANTS}
        since = clock(self.engine)
        self.crew.start(self._program(name, kind) for name, kind in _NAMES.items())
        if self.until(lambda: self.api_is_up() and not unpublished(self.engine, since), _START_S) is None:
            raise ActivityError(f"the processes do not come up; see {self.folder / 'log'}")

    def stop(self) -> None:
        """End everything; for certain, whatever happened before."""
        for kind in ("api", "beat", "worker"):
            self.crew.stop(kind)
        children.end(self.leftovers())
        for engine in (self.engine, self.superuser):
            engine.dispose()
        self.valkey.stop()
        self.postgres.stop()

    def _settle(self) -> None:
        """Make the owner, the database and the schema, with a login role for each part."""
        secret = secrets.token_hex(16)
        self.superuser = database.connect(self.postgres.superuser_url(), name="chaos", isolation_level="AUTOCOMMIT")
        with self.superuser.connect() as conn:
            conn.execute(text(f"create role {backing_services.LOGINS['owner']} login createrole password '{secret}'"))
            conn.execute(text(f"create database {DATABASE} owner {backing_services.LOGINS['owner']}"))
        urls = {part: self.postgres.url(login, secret, DATABASE) for part, login in backing_services.LOGINS.items()}
        self.settings = settings.load(
            database_url=urls.pop("owner"),
            broker_url=self.valkey.url,
            rate_limit_url=str(self.valkey.url).removesuffix("0") + "1",
            api_port=free_port(),
            **{f"{part}_database_url": url for part, url in urls.items()},
            **VARIABLES,
        )
        runner.migrate(self.settings)
        self.engine = database.connect(database.url_of(self.settings, "owner"), name="chaos", pool_size=8)
        self.app = create_app(self.settings)

    def _leave_old_history(self) -> None:
        """Make a partition that retention must drop."""
        with self.engine.begin() as conn:
            old = func.current_date() - _OLD_DAYS
            conn.execute(select(func.signals.ensure_history_partition(old)))

    def _program(self, name: str, kind: str) -> Program:
        made = program(kind, self.settings, self.folder)
        return replace(made, name=name, env={**made.env, **_variables()})

    def command(self, *arguments: str, current: Settings | None = None) -> CompletedProcess[str]:
        """Run `activity` with `arguments` as an operator, and return what it printed and its exit code.

        `current` names another installation than this one.
        """
        env = {"PATH": "/usr/bin:/bin", **operator_urls(current or self.settings), **_variables()}
        words = [sys.executable, "-m", "ops.cli", *arguments]
        return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    def until(self, condition: Callable[[], bool], patience_s: float) -> float | None:
        """Wait until `condition` holds, and return how many seconds that took; None when it does not in time.

        A database or a broker that is away meanwhile is no answer.
        """
        begun = time.monotonic()
        while (elapsed := time.monotonic() - begun) < patience_s:
            self.crew.watch()
            with suppress(DBAPIError, redis.RedisError):
                if condition():
                    return elapsed
            time.sleep(_POLL_S)
        return None

    def wait(self, seconds: float) -> None:
        """Let time pass; what has ended is started again meanwhile."""
        self.until(lambda: False, seconds)

    def broker(self) -> redis.Redis:
        """Return a client of the broker that neither waits nor tries again."""
        return redis.Redis.from_url(self.valkey.url, socket_timeout=5, socket_connect_timeout=5)

    def api_is_up(self) -> bool:
        """Tell whether the API serves."""
        return api_is_ready(HOST, self.settings.api_port)

    def leftovers(self) -> list[Any]:
        """Return the processes of the installation that still run."""
        return children.of_instance(str(self.folder))

    def superuser_in(self) -> Engine:
        """Return an engine as the superuser in the installation's database."""
        url = make_url(self.postgres.superuser_url(DATABASE))
        return database.connect(url, name="chaos", isolation_level="AUTOCOMMIT")


def _variables() -> dict[str, str]:
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in VARIABLES.items()}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
