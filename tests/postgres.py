"""The PostgreSQL servers that tests run on: private clusters, started when first asked for, one per session."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine, make_url, text

from migrations import runner
from ops.local.embedded.postgres import EMBEDDED_BINARIES, PostgresCluster
from snapshots import database, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Debian's server, the oldest major version that is supported.
DEBIAN_BINARIES: Final = Path("/usr/lib/postgresql/15/bin")
BINARIES: Final[Mapping[str, Path]] = {"pg18": EMBEDDED_BINARIES, "pg15": DEBIAN_BINARIES}

OWNER: Final = "activity_owner"
_TEMPLATE: Final = "activity_template"
_SHARED: Final = "activity_shared"


@dataclass
class Server:
    """A running server: `url` names a database of it as the owner, who is no superuser."""

    name: str
    folder: Path
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    _counter: int = 0

    @cached_property
    def cluster(self) -> PostgresCluster:
        """Return the cluster, started."""
        cluster = PostgresCluster(BINARIES[self.name], self.folder / self.name, durable=False)
        cluster.start()
        return cluster

    @cached_property
    def _superuser(self) -> Engine:
        engine = database.connect(self.cluster.superuser_url(), isolation_level="AUTOCOMMIT")
        _execute(engine, f"create role {OWNER} login createrole password '{self.password}'")
        return engine

    @cached_property
    def _template(self) -> str:
        """Return the name of a migrated database that nobody is connected to."""
        url = self.create_database(_TEMPLATE)
        runner.migrate(settings.load(database_url=url))
        return _TEMPLATE

    @cached_property
    def shared_url(self) -> str:
        """Return the URL of a migrated database for tests that roll back."""
        return self.create_database(_SHARED, template=self._template)

    @cached_property
    def shared_engine(self) -> Engine:
        """Return an engine on `shared_url`."""
        return database.connect(self.shared_url)

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Create a database of the owner's and return its URL; without a template it is empty."""
        # Copied as files: nothing of it has to survive a crash, and the log of every block takes longer.
        _execute(self._superuser, f"create database {name} owner {OWNER} template {template} strategy file_copy")
        return self.cluster.url(OWNER, self.password, name)

    def create_migrated_database(self) -> str:
        """Create a migrated database under a name of its own and return its URL."""
        self._counter += 1
        return self.create_database(f"activity_{self._counter}", template=self._template)

    def create_empty_database(self) -> str:
        """Create a database without our schema and return its URL."""
        self._counter += 1
        return self.create_database(f"empty_{self._counter}")

    def drop_database(self, url: str) -> None:
        """Drop the database that `url` names, whoever is still connected."""
        _execute(self._superuser, f"drop database if exists {make_url(url).database} with (force)")

    def url_as(self, group: str, url: str) -> str:
        """Return `url` for a login role that is a member of `group` alone, such as READER_ROLE."""
        login = f"{group}_login"
        exists = text("select 1 from pg_roles where rolname = :name")
        with self._superuser.connect() as conn:
            if conn.execute(exists, {"name": login}).first() is None:
                conn.execute(text(f"create role {login} login password '{self.password}' in role {group}"))
        return self.cluster.url(login, self.password, str(make_url(url).database))

    def administer(self, *statements: str) -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        for statement in statements:
            _execute(self._superuser, statement)

    def stop(self) -> None:
        """Close what was opened and stop the cluster, if it was started."""
        for name in ("shared_engine", "_superuser"):
            if name in self.__dict__:
                self.__dict__[name].dispose()
        if "cluster" in self.__dict__:
            self.cluster.stop()


def _execute(engine: Engine, statement: str) -> None:
    with engine.connect() as conn:
        conn.execute(text(statement))
