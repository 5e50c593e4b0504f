"""Database engines: one per role, opened by the process that uses it, with pinned session settings."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import create_engine as sqlalchemy_engine
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, make_url

from snapshots import read_deadline, sessions
from snapshots.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import SecretStr
    from sqlalchemy.engine.interfaces import DBAPIConnection

    from snapshots.settings import Settings

Role = Literal["owner", "worker", "auth", "reader", "triage", "ingest"]

#: Data that a server does not acknowledge for so long ends the connection, milliseconds.
_SILENCE_MS: Final = 30_000
#: Between the end of a statement by a server that runs and the read deadline for one that is silent, seconds.
GRACE_S: Final = 15

_log = logging.getLogger(__name__)


def normalise(url: URL | str) -> URL:
    """Return `url` for the driver we ship, whatever driver (or none) it names."""
    return make_url(url).set(drivername="postgresql+psycopg2")


def url_of(settings: Settings, role: Role) -> URL:
    """Return the URL of `role`; the owner's stands in for a missing one, which is logged.

    Raises SettingsError when there is neither.
    """
    name = "database_url" if role == "owner" else f"{role}_database_url"
    own: SecretStr | None = getattr(settings, name)
    if own is not None:
        return normalise(own.get_secret_value())
    if settings.database_url is None:
        raise SettingsError(f"ACTIVITY_{name.upper()}: not set; expected a URL like postgresql://user@host/database")
    _log.warning("ACTIVITY_%s is not set: the owner's URL stands in, with more rights than needed", name.upper())
    return normalise(settings.database_url.get_secret_value())


def setting_of(settings: Settings, role: Role) -> str:
    """Return the name of the variable that the URL of `role` comes from."""
    is_own = role != "owner" and getattr(settings, f"{role}_database_url") is not None
    return f"ACTIVITY_{role.upper()}_DATABASE_URL" if is_own else "ACTIVITY_DATABASE_URL"


def connect(  # noqa: PLR0913  # what makes a session of one role differ from another's
    url: URL | str,
    *,
    name: str = "activity",
    connect_timeout_s: int = 10,
    read_deadline_s: float | None = None,
    keeps_session: bool = True,
    lock_timeout_s: int | None = None,
    **options: Any,  # noqa: ANN401  # SQLAlchemy's own
) -> Engine:
    """Return an engine on `url` whose sessions have pinned settings, UTC among them (`snapshots.sessions`).

    They are named `name` in pg_stat_activity. Connecting raises SessionSettingsError when the settings do not hold.
    `keeps_session` is False where a pooler in transaction mode may stand between: nothing is then set for a session,
    and each transaction pins the settings itself. With `read_deadline_s` a statement that the server
    leaves unanswered for so long raises OperationalError. It is longer than statement_timeout, with which a server that
    runs ends the statement itself. With `lock_timeout_s`, no statement waits longer for a lock unless its transaction
    allows for more.
    """
    arguments: dict[str, Any] = {
        "application_name": name,
        # Before the environment's PGCLIENTENCODING, and before what the role or the database has.
        "client_encoding": "utf8",
        "connect_timeout": connect_timeout_s,
        # A network that swallows packets is noticed within this, and not after hours.
        "tcp_user_timeout": _SILENCE_MS,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    if read_deadline_s is not None:
        arguments["connection_factory"] = read_deadline.factory
    engine = sqlalchemy_engine(
        normalise(url), connect_args=arguments, **{"pool_pre_ping": True, "hide_parameters": True, **options}
    )
    if keeps_session:
        # Ahead of SQLAlchemy's own first look, which takes the default isolation level down.
        event.listen(engine, "connect", sessions.pin, insert=True)
    if lock_timeout_s is not None:
        event.listen(engine, "connect", partial(_bound_lock_waits, f"{lock_timeout_s}s"))
    if read_deadline_s is not None:
        read_deadline.keep(engine, read_deadline_s)
    return engine


def _bound_lock_waits(timeout: str, connection: DBAPIConnection, _record: object) -> None:
    """Set lock_timeout by a statement: a pooler may drop what is asked for at the start."""
    cursor = connection.cursor()
    cursor.execute("select set_config('lock_timeout', %s, false)", (timeout,))
    cursor.close()
    connection.commit()
