"""Leaving a host: for its own migration, or for good.

Refreshes end before anything of theirs is taken away, and none begins meanwhile: their locks are held.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from psycopg2 import errors
from sqlalchemy.exc import OperationalError

from migrations import capture, detachment, runner
from snapshots.database import connect
from snapshots.errors import ActivityError
from snapshots.signals import SLOTS
from worker.engine import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine

    from migrations.detachment import Detachment
    from snapshots.host_mapping import SourceMapping

#: How often the triggers' creation is tried while writers do not let go, and the pause that lets them go on, seconds.
ATTEMPTS: Final = 20
PAUSE_S: Final = 0.5


def detach(url: URL) -> bool:
    """Remove views and triggers, and tell whether there were any views; what is detached already stays so.

    Raises ActivityError where something that is not ours reads a view, or a table's writers do not let go: the views
    are gone then, and another call removes the triggers.
    """
    engine = connect(url, name="activity detach")
    try:
        with runner.only_migrator(url), no_refresh(engine) as conn:
            is_new = _known(conn) is None
            if is_new:
                runner.check(url)
                with conn.begin():
                    detachment.detach(conn)
        capture.remove(engine)
    finally:
        engine.dispose()
    return is_new


def attach(url: URL, *, mapping: SourceMapping | None = None, attempts: int = ATTEMPTS) -> Detachment | None:
    """Make what `detach` removed again, all of it or nothing; None where nothing was detached.

    `mapping` replaces the names that the host had before.

    The next refresh of each signal reads every row. Raises SchemaMismatchError naming what the host lacks.
    """
    engine = connect(url, name="activity attach")
    try:
        with runner.only_migrator(url), engine.connect() as conn:
            known = _known(conn)
            if known is None:
                return None
            with conn.begin():
                detachment.check(conn, known, runner.head(), mapping)
            # Before the refreshes' locks are held: who waits for one inside a statement is waited for by the build.
            _build_lost_indexes(engine)
            with no_refresh(engine) as held:
                _attach(held, known, attempts, mapping)
            return known
    finally:
        engine.dispose()


@contextmanager
def no_refresh(engine: Engine) -> Iterator[Connection]:
    """Yield a connection, outside a transaction, while every refresh's locks are held; waits for those under way."""
    with exclusive.no_refresh(engine, range(SLOTS)), engine.connect() as conn:
        yield conn


def _known(conn: Connection) -> Detachment | None:
    with conn.begin():
        return detachment.find(conn)


def _build_lost_indexes(engine: Engine) -> None:
    """Build again the indexes that went with a column; nobody waits for it, and it waits for every transaction."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        for statement in detachment.lost_indexes(conn):
            conn.exec_driver_sql(statement.replace("%", "%%"))


def _attach(conn: Connection, known: Detachment, attempts: int, mapping: SourceMapping | None) -> None:
    for remaining in reversed(range(attempts)):
        try:
            with conn.begin():
                detachment.attach(conn, known, mapping)
        except OperationalError as ex:
            if not isinstance(ex.orig, errors.LockNotAvailable):
                raise
            if not remaining:
                busy = f"{', '.join(known.captured)}: writers did not let go; nothing was changed"
                raise ActivityError(f"{busy}; try again at a quieter moment") from None
            time.sleep(PAUSE_S)
        else:
            return
