"""Detection of poolers that give a client another session from one transaction to the next."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from snapshots import database
from snapshots.errors import DatabaseUnavailableError, SettingsError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

    from snapshots.database import Role
    from snapshots.settings import Settings

#: Rounds, and the other clients of each, that are to draw a pooler into another choice.
_ROUNDS: Final = 3
_OTHERS: Final = 2
_MARK: Final = "activity.session"
_SET: Final = text("select pg_backend_pid(), set_config(:name, :token, false)")
_GET: Final = text("select pg_backend_pid(), current_setting(:name, true)")


def session_url(settings: Settings, role: Role) -> URL:
    """Return the URL of `role`, for work that spans several transactions of one session.

    Raises SettingsError, naming the variable, when a pooler in transaction or statement mode answers there.
    """
    url = database.url_of(settings, role)
    check(url, database.setting_of(settings, role))
    return url


def check(url: URL | str, setting: str) -> None:
    """Raise SettingsError when connections to `url`, which `setting` names, are not sessions of their own.

    Another client that is given the server process of the first one, while that one is connected, proves it, and so
    does a first client that is given another process, or has lost what it set. A server that cannot be reached is left
    to what comes next. Takes three connections for a moment.
    """
    engine = database.connect(
        url,
        name="activity session check",
        keeps_session=False,
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
        pool_pre_ping=False,
    )
    with ExitStack() as stack:
        try:
            first = stack.enter_context(engine.connect())
        except OperationalError:
            return
        try:
            is_shared = any(_is_shared(first, [engine.connect() for _ in range(_OTHERS)]) for _ in range(_ROUNDS))
        except DBAPIError as ex:
            reason = str(ex.orig).strip().splitlines()[0]
            raise DatabaseUnavailableError(
                f"{setting}: expected {1 + _OTHERS} sessions at a time, each with transactions of its own; {reason}"
            ) from None
    if is_shared:
        raise SettingsError(
            f"{setting}: a pooler shares one session among several clients (pool_mode=transaction or statement);"
            " expected a direct connection, or a pooler with pool_mode=session"
        )


def _is_shared(first: Connection, others: list[Connection]) -> bool:
    """Tell whether `first` and `others` met in one server process; the others are closed."""
    token = secrets.token_hex(8)
    mine = first.execute(_SET, {"name": _MARK, "token": token}).scalar_one()
    with ExitStack() as stack:
        for other in others:
            stack.enter_context(other)
        for other in others:
            # Held in an open transaction, so that the first client's next statement cannot have the same process.
            other.exec_driver_sql("begin")
            theirs = other.execute(_GET, {"name": _MARK}).one()
            if theirs[0] == mine or theirs[1] == token:
                return True
        found = first.execute(_GET, {"name": _MARK}).one()
        return (found[0], found[1]) != (mine, token)
