"""Backing services of the processes: a database and a broker, embedded unless the settings name others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import redis
from psycopg2.extensions import encrypt_password
from pydantic import SecretStr
from sqlalchemy import text

from ops.local import children
from ops.local.embedded.postgres import EMBEDDED_BINARIES, PostgresCluster
from ops.local.embedded.valkey import ValkeyServer
from snapshots import database
from snapshots.errors import BrokerUnavailableError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from ops.local.instance import Instance
    from snapshots.settings import Settings

DATABASE: Final = "activity"
#: The login roles in the embedded cluster, by the part that uses them; `activity migrate` makes all but the owner.
LOGINS: Final[Mapping[str, str]] = {
    "owner": "activity_owner",
    "worker": "activity_worker_login",
    "auth": "activity_auth_login",
    "reader": "activity_reader_login",
    "triage": "activity_triage_login",
    "ingest": "activity_ingest_login",
}


class Foundation:
    """The database and the broker of one instance; `start` returns settings that name both."""

    def __init__(self, instance: Instance, current: Settings) -> None:
        """Describe them; nothing happens before `start`. Raises SettingsError for a part's URL without the owner's."""
        self._instance = instance
        self._settings = current
        self._postgres: PostgresCluster | None = None
        self._valkey: ValkeyServer | None = None
        if current.database_url is None:
            _refuse_part_urls(current)
            folder, log_file = instance.folder / "postgres", instance.logs / "postgres.log"
            self._postgres = PostgresCluster(EMBEDDED_BINARIES, folder, log_file=log_file)
        if current.broker_url is None:
            self._valkey = ValkeyServer(instance.folder / "valkey", log_file=instance.logs / "valkey.log")

    def start(self, report: Callable[[str], None]) -> Settings:
        """Start what is embedded, reach what is not, and return the settings with every URL."""
        urls: dict[str, str] = {}
        if self._postgres is not None:
            report("starting PostgreSQL")
            self._postgres.start()
            urls |= self._database_urls(self._postgres)
        if self._valkey is not None:
            report("starting Valkey")
            self._valkey.start()
            urls["broker_url"] = self._valkey.url
        elif self._settings.broker_url is not None:
            reach(self._settings.broker_url.get_secret_value())
        return self._settings.model_copy(update={name: SecretStr(url) for name, url in urls.items()})

    def revive(self, report: Callable[[str], None]) -> None:
        """Start an embedded server that has ended again, under its old address, and keep its log from growing.

        Raises ActivityError when the broker's port has been taken meanwhile: the processes would not find it.
        """
        for name in ("postgres", "valkey"):
            children.bound_log(self._instance.logs / f"{name}.log")
        if self._postgres is not None and _has_ended(self._postgres):
            report("PostgreSQL ended; starting it again")
            self._postgres.start()
        if self._valkey is not None and _has_ended(self._valkey):
            report("Valkey ended; starting it again")
            address = self._valkey.url
            self._valkey.start()
            if self._valkey.url != address:
                raise BrokerUnavailableError(
                    "Valkey ended, and its port was taken meanwhile; start `activity up` again"
                )

    def stop(self) -> None:
        """Stop what is embedded: the broker first, the database last."""
        for server in (self._valkey, self._postgres):
            if server is not None:
                server.stop()

    def _database_urls(self, cluster: PostgresCluster) -> dict[str, str]:
        passwords = self._instance.credentials()
        owned = {LOGINS[part]: str(getattr(passwords, part)) for part in LOGINS}
        engine = database.connect(cluster.superuser_url(), isolation_level="AUTOCOMMIT", hide_parameters=True)
        with engine.connect() as conn:
            _prepare(conn, owned)
        engine.dispose()
        urls = {part: cluster.url(login, owned[login], DATABASE) for part, login in LOGINS.items()}
        return {"database_url": urls.pop("owner"), **{f"{part}_database_url": url for part, url in urls.items()}}


def _has_ended(server: PostgresCluster | ValkeyServer) -> bool:
    return server.process is not None and children.has_ended(server.process)


def _prepare(conn: Connection, passwords: Mapping[str, str]) -> None:
    """Make the owner, who is no superuser, and the database; give the logins that exist the passwords on file."""
    known = set(conn.execute(text("select rolname from pg_roles")).scalars())
    owner = LOGINS["owner"]
    if owner not in known:
        conn.execute(text(f"create role {owner} login createrole"))
    for login in sorted({owner, *passwords} & {owner, *known}):
        conn.exec_driver_sql(f"alter role {login} password '{_hashed(conn, login, passwords[login])}'")
    if conn.execute(text("select 1 from pg_database where datname = :name"), {"name": DATABASE}).first() is None:
        conn.execute(text(f"create database {DATABASE} owner {owner}"))


def _hashed(conn: Connection, login: str, password: str) -> str:
    """Return what the server stores for `password`, so that no statement and no log ever holds it in clear."""
    scope = conn.connection.driver_connection
    return str(encrypt_password(password, login, scope=scope, algorithm="scram-sha-256"))


def _refuse_part_urls(current: Settings) -> None:
    for part in ("worker", "auth", "reader", "triage", "ingest"):
        if getattr(current, f"{part}_database_url") is not None:
            raise SettingsError(
                f"ACTIVITY_{part.upper()}_DATABASE_URL: set without ACTIVITY_DATABASE_URL; expected both or neither"
            )


def reach(url: str) -> None:
    """Raise BrokerUnavailableError unless the broker at `url` answers."""
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            client.ping()
    except redis.RedisError as ex:
        raise BrokerUnavailableError("broker: no answer; is ACTIVITY_BROKER_URL right, and the server up?") from ex
