"""Transaction of a load, begun again where the server ended it for a transient reason.

A load that is repeated ends as if it had been done once, so a second attempt need not know whether the first one's
commit succeeded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from ingest.files.report import LoadError
from snapshots import database
from snapshots.errors import first_line, sqlstate
from snapshots.signals import LOCK_CLASS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import URL, Connection

    from ingest.exports.load_spans import SpanReport
    from ingest.files.report import LoadProgress, LoadReport

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
    """Progress of one attempt."""

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
    has_begun = False
    try:
        for wait_s in (*waits_s, None):
            attempt = _Attempt()
            try:
                return _attempt(engine, run, attempt, progress, strict=strict)
            except DBAPIError as ex:
                code, reason = sqlstate(ex), first_line(ex) or "the connection was lost"
                has_begun |= attempt.is_open
                # A connection that is lost, or cannot be made, has no SQLSTATE; without an earlier one, the address may
                # be wrong.
                is_lost = code is None and has_begun and isinstance(ex, OperationalError | InterfaceError)
                if not is_lost and not (code or "").startswith(_PASSING):
                    raise
                if wait_s is None:
                    told = f"the database ended the load {len(waits_s) + 1} times, at last with: {reason}"
                    if attempt.is_committing:
                        told += "; whether it was stored is not known, and loading the same again is safe either way"
                    else:
                        told += "; nothing was stored, and loading the same again is safe"
                    raise LoadError(told) from None
                progress.begin(f"{reason}; beginning again in {wait_s:g} s")
            time.sleep(wait_s)
    finally:
        if engine is not where:
            engine.dispose()
    raise AssertionError("the last attempt returns or raises")


def _attempt(engine: Engine, run: Run[_Report], attempt: _Attempt, progress: LoadProgress, *, strict: bool) -> _Report:
    with engine.connect() as conn, conn.begin() as transaction:
        attempt.is_open = True
        # Two loads that name the same rows would wait for each other's.
        if not conn.execute(_TRY_TURN, _ONE_AT_A_TIME).scalar_one():
            progress.begin("waiting for another load to end")
            conn.execute(_AWAIT_TURN, _ONE_AT_A_TIME)
        report = run(conn)
        if strict and report.skipped:
            transaction.rollback()
            report.is_stored = False
        attempt.is_committing = report.is_stored
    return report
