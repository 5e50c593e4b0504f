"""The one transaction of a load, begun again where the server ended it for reasons that pass.

A load that is repeated ends as if it had been done once, so a second attempt needs to know nothing of the first: not
even whether that one's commit was lost on its way or on its way back.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from ingest.files.problems import LoadError
from snapshots import database
from snapshots.errors import sqlstate
from worker.engine.errors import first_line
from worker.engine.locks import LOCK_CLASS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import URL, Connection

    from ingest.exports.loading import SpanReport
    from ingest.files.progress import LoadProgress
    from ingest.files.reports import LoadReport

    Run = Callable[[Connection], "_Report"]

_Report = TypeVar("_Report", "LoadReport", "SpanReport")

#: Seconds before each further attempt: a deadlock is over at once, a server recovers within some ten.
WAITS_S: Final[Sequence[float]] = (0.5, 3.0, 10.0, 20.0)

#: SQLSTATEs, whole or by class, of what another attempt may not meet: serialization failures and deadlocks, a lost
#: connection, no connection left, a lock that others hold, a server that stops, crashed or recovers.
_PASSING: Final = ("40", "08", "53300", "55P03", "57P01", "57P02", "57P03")

#: Loads into one database take turns. The second key is below those of the refreshes' slots.
_ONE_AT_A_TIME: Final = {"lock_class": LOCK_CLASS, "key": -1}
_TRY_TURN: Final = text("select pg_try_advisory_xact_lock(:lock_class, :key)")
_AWAIT_TURN: Final = text("select pg_advisory_xact_lock(:lock_class, :key)")


@dataclass(slots=True)
class _Attempt:
    """How far an attempt came."""

    is_open: bool = False
    is_committing: bool = False


def in_one_transaction(
    where: Engine | URL | str, run: Run[_Report], progress: LoadProgress, *, strict: bool, waits_s: Sequence[float]
) -> _Report:
    """Return what `run` reports, and commit; with `strict`, roll back when lines were skipped.

    Raises LoadError when the server ended every attempt; an error of any other kind is the driver's, at once: nothing
    is stored then.
    """
    engine = where if isinstance(where, Engine) else database.connect(where, name="activity load", hide_parameters=True)
    try:
        return _repeat(engine, run, progress, strict=strict, waits_s=waits_s)
    finally:
        if engine is not where:
            engine.dispose()


def _repeat(
    engine: Engine, run: Run[_Report], progress: LoadProgress, *, strict: bool, waits_s: Sequence[float]
) -> _Report:
    has_begun = False
    for wait_s in (*waits_s, None):
        attempt = _Attempt()
        try:
            return _attempt(engine, run, attempt, progress, strict=strict)
        except DBAPIError as ex:
            has_begun |= attempt.is_open
            if not _passes(ex, has_begun=has_begun):
                raise
            if wait_s is None:
                raise LoadError(_explain(ex, len(waits_s) + 1, attempt)) from None
            progress.begin(f"{_reason(ex)}; beginning again in {wait_s:g} s")
        time.sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _attempt(engine: Engine, run: Run[_Report], attempt: _Attempt, progress: LoadProgress, *, strict: bool) -> _Report:
    with engine.connect() as conn, conn.begin() as transaction:
        attempt.is_open = True
        _await_turn(conn, progress)
        report = run(conn)
        if strict and report.skipped:
            transaction.rollback()
            report.is_stored = False
        attempt.is_committing = report.is_stored
    return report


def _await_turn(conn: Connection, progress: LoadProgress) -> None:
    """Wait until no other load is under way: two that name the same rows would wait for each other's."""
    if not conn.execute(_TRY_TURN, _ONE_AT_A_TIME).scalar_one():
        progress.begin("waiting for another load to end")
        conn.execute(_AWAIT_TURN, _ONE_AT_A_TIME)


def _passes(ex: DBAPIError, *, has_begun: bool) -> bool:
    """Tell whether another attempt may fare better.

    A connection that is lost, or cannot be made, has no SQLSTATE; where none was made before, the address may be wrong.
    """
    code = sqlstate(ex)
    if code is None:
        return has_begun and isinstance(ex, OperationalError | InterfaceError)
    return code.startswith(_PASSING)


def _explain(ex: DBAPIError, times: int, attempt: _Attempt) -> str:
    told = f"the database ended the load {times} times, at last with: {_reason(ex)}"
    if attempt.is_committing:
        return f"{told}; whether it was stored is not known, and loading the same again is safe either way"
    return f"{told}; nothing was stored, and loading the same again is safe"


def _reason(ex: DBAPIError) -> str:
    return first_line(ex) or "the connection was lost"
