"""Names of the sessions that keep a refresh from a lock: process id, user, application, state. Never query text."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from worker.engine import locks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine, Row

#: Sessions that are named; a queue may be longer.
_AT_MOST: Final = 3
#: Looks within one lock_timeout.
_LOOKS: Final = 4

_SESSION: Final = (
    "session.pid, session.usename as login, session.application_name as application, session.state,"
    " to_char(session.xact_start at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as since"
)
#: Whom the session waits for, and whom those wait for; 0 stands for a prepared transaction.
_BLOCKERS: Final = text(f"""
with recursive blocker (pid) as (
    select unnest(pg_blocking_pids(:pid))
    union
    select unnest(pg_blocking_pids(blocker.pid)) from blocker where blocker.pid <> 0
)
select blocker.pid as blocker, cardinality(pg_blocking_pids(blocker.pid)) > 0 as waits, {_SESSION}
from blocker
left join pg_catalog.pg_stat_activity as session on session.pid = blocker.pid
where blocker.pid <> :pid
order by waits, blocker.pid
limit {_AT_MOST}
""")  # noqa: S608  # ours
_AWAITED: Final = text("""
select coalesce(cast(cast(relation as regclass) as text), locktype)
from pg_catalog.pg_locks
where pid = :pid and not granted
limit 1
""")
_HOLDERS: Final = text(f"""
select distinct held.pid as blocker, false as waits, {_SESSION}
from pg_catalog.pg_locks as held
left join pg_catalog.pg_stat_activity as session on session.pid = held.pid
where
    held.locktype = 'advisory' and held.granted and held.pid <> pg_backend_pid()
    and held.database = (select oid from pg_catalog.pg_database where datname = current_database())
    and held.classid = cast(:lock_class as integer) and held.objsubid = 2
    and cast(held.objid as bigint) - cast(:first as integer) = any(cast(:slots as integer[]))
order by held.pid
limit {_AT_MOST}
""")  # noqa: S608  # ours


def blockers(conn: Connection, pid: int) -> str | None:
    """Return what the session `pid` waits for and which sessions have it, None when it waits for nothing."""
    rows = conn.execute(_BLOCKERS, {"pid": pid}).all()
    if not rows:
        return None
    awaited = conn.execute(_AWAITED, {"pid": pid}).scalar()
    # Without, the wait has ended between the two questions.
    return None if awaited is None else f"{awaited} is locked by {described(rows)}"


def holders(conn: Connection, signal: str, slots: Sequence[int]) -> str | None:
    """Return which sessions hold the refresh locks of `slots`, None when they are free."""
    rows = conn.execute(_HOLDERS, locks.keys(signal, slots)).all()
    return f"{signal} is locked by {described(rows)}" if rows else None


def described(rows: Sequence[Row[Any]]) -> str:
    """Return the sessions as words; what this role may not see of another's session is left out."""
    return ", and by ".join(map(_session, rows))


def _session(row: Row[Any]) -> str:
    if not row.blocker:
        return "a prepared transaction (see pg_prepared_xacts)"
    known = (
        row.login and f"user {row.login}",
        row.application and f"application {row.application}",
        row.state,
        row.since and f"since {row.since}",
        row.waits and "waits itself",
    )
    details = ", ".join(detail for detail in known if detail)
    return f"pid {row.blocker} ({details})" if details else f"pid {row.blocker}"


class BlockerWatch:
    """Thread that looks, now and then, at what a session waits for: once its wait was ended, the server has forgotten.

    A refresh that is over before the first look costs no connection.
    """

    def __init__(self, engine: Engine, pid: int, lock_timeout_s: float) -> None:
        """Take the session's process id, and the time after which its waits end."""
        self._engine = engine
        self._pid = pid
        self._every_s = lock_timeout_s / _LOOKS
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="blocker-watch", daemon=True)
        self.last: str | None = None

    def __enter__(self) -> Self:
        """Start to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Have the thread end; a server that does not answer is not waited for."""
        self._is_over.set()
        self._thread.join(self._every_s)

    def _look(self) -> None:
        if self._is_over.wait(self._every_s):
            return
        try:
            with self._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
                while not self._is_over.is_set():
                    self.last = blockers(conn, self._pid) or self.last
                    self._is_over.wait(self._every_s)
        except SQLAlchemyError:  # the refresh meets the same server, and says what is wrong with it
            return
