"""Quarantine: tenants whose data breaks a query are excluded from refreshes, retried, and released by a success.

What was published for such a tenant stays, and its age shows. It is tried by itself, at each refresh first and less and
less often after `quarantine_after` failures; one success ends it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from snapshots.errors import first_line, sqlstate
from snapshots.tables import freshness, quarantine
from worker.engine.batch import refresh_batch
from worker.engine.errors import release as release_error
from worker.engine.limits import set_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Column, ColumnElement, Connection, ScalarSelect

    from snapshots.settings import Settings
    from worker.engine.context import RefreshContext
    from worker.engine.shards import Shard

#: The classes of SQLSTATE that a row can cause: bad data, a broken constraint, a program limit, an exception that a
#: host's own function raised, damage in what is stored.
_OF_DATA: Final = frozenset({"22", "23", "54", "P0", "XX"})
#: More at once, and it is not the tenants' data.
MOST_CULPRITS: Final = 100
#: The first wait of a tenant in quarantine, and the longest, seconds.
FIRST_WAIT_S: Final = 300
LONGEST_WAIT_S: Final = 21_600
_MOST_DOUBLINGS: Final = 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Culprit:
    """A tenant by itself, and the error that its data causes."""

    tenant_id: str
    error: DBAPIError


def is_of_data(error: Exception) -> bool:
    """Tell whether some tenant's rows may have caused `error`, rather than the server or the network."""
    return isinstance(error, DBAPIError) and (sqlstate(error) or "")[:2] in _OF_DATA


def culprits(tenants: Sequence[str], attempt: Callable[[Sequence[str]], DBAPIError | None]) -> list[Culprit]:
    """Return the tenants that fail by themselves, found by halves; none when the halves succeed where the whole fails.

    `attempt` returns the error of some tenants together, None when there is none.
    """
    error = attempt(tenants) if tenants else None
    if error is None:
        return []
    if len(tenants) == 1:
        return [Culprit(tenants[0], error)]
    half = len(tenants) // 2
    found = culprits(tenants[:half], attempt)
    return found if len(found) > MOST_CULPRITS else found + culprits(tenants[half:], attempt)


def excluded(conn: Connection, signal: str, shard: Shard) -> list[str]:
    """Return the tenants of a shard that are set aside."""
    mine = quarantine.c.signal == signal, shard.holds(quarantine.c.tenant_id)
    return list(conn.execute(select(quarantine.c.tenant_id).where(*mine).order_by(quarantine.c.tenant_id)).scalars())


def due(conn: Connection, signal: str, shard: Shard, *, since: datetime) -> list[str]:
    """Return those of them that are to be tried again now, and have not been since `since`."""
    mine = quarantine.c.signal == signal, shard.holds(quarantine.c.tenant_id)
    is_due = (quarantine.c.retry_at <= func.clock_timestamp()) & (quarantine.c.last_failed_at < since)
    return list(conn.execute(select(quarantine.c.tenant_id).where(*mine, is_due)).scalars())


def note(conn: Connection, signal: str, culprit: Culprit, settings: Settings) -> None:
    """Set a tenant aside, or count another failure of one that is."""
    now = func.statement_timestamp()
    values = {
        "signal": signal,
        "tenant_id": culprit.tenant_id,
        "failures": 1,
        "error_class": type(culprit.error.orig).__name__,
        "error": first_line(culprit.error),
        "first_failed_at": now,
        "last_failed_at": now,
        "retry_at": now,
        # The batch that failed was undone: this is what the tenant's snapshot was last confirmed for.
        "as_of": _last_confirmed(freshness.c.as_of, signal, culprit.tenant_id),
        "window_json": _last_confirmed(freshness.c.window_json, signal, culprit.tenant_id),
    }
    added = insert(quarantine).values(values)
    again = {
        "failures": quarantine.c.failures + 1,
        "error_class": added.excluded.error_class,
        "error": added.excluded.error,
        "last_failed_at": now,
        "retry_at": now + _wait(quarantine.c.failures + 1, settings.quarantine_after),
    }
    conn.execute(added.on_conflict_do_update(index_elements=["signal", "tenant_id"], set_=again))
    _log.error("quarantine signal=%s: a tenant is set aside: %s", signal, values["error_class"])


def _last_confirmed(column: Column[Any], signal: str, tenant_id: str) -> ScalarSelect[Any]:
    """Return a column of the freshness of the tenant's slot."""
    slot = freshness.c.slot == func.signals.slot_of(tenant_id)
    return select(column).where(freshness.c.signal == signal, slot).scalar_subquery()


def _wait(failures: ColumnElement[int], patient_until: int) -> ColumnElement[timedelta]:
    """Return how long to wait after so many failures: not at all at first, then twice as long each time."""
    doublings = func.least(failures - patient_until, _MOST_DOUBLINGS)
    wait_s = func.least(FIRST_WAIT_S * func.power(2, doublings), LONGEST_WAIT_S)
    return func.make_interval(0, 0, 0, 0, 0, 0, case((failures < patient_until, 0), else_=wait_s))


def release(conn: Connection, signal: str, tenants: Sequence[str]) -> int:
    """Let go of tenants whose refresh has succeeded; return how many had been set aside."""
    these = quarantine.c.signal == signal, quarantine.c.tenant_id.in_(tenants)
    return int(conn.execute(delete(quarantine).where(*these)).rowcount)


def retry_now(conn: Connection, signal: str, shard: Shard) -> None:
    """Have every tenant of a shard that is set aside be tried at the next refresh: an operator asks for it."""
    mine = quarantine.c.signal == signal, shard.holds(quarantine.c.tenant_id)
    conn.execute(update(quarantine).where(*mine).values(retry_at=func.clock_timestamp()))


def isolate(conn: Connection, context: RefreshContext, error: DBAPIError) -> list[str]:
    """Bisect a failing refresh, quarantine the tenants that fail by themselves, and return them.

    Raises `error` when it is not of their data: no tenant fails alone, or too many do.
    """

    def attempt(tenants: Sequence[str]) -> DBAPIError | None:
        """Return what refreshing some tenants raises, and undo it either way."""
        transaction = conn.begin()
        try:
            set_limits(conn, context.settings)
            refresh_batch(conn, replace(context, tenants=tenants))
        except DBAPIError as ex:
            if not is_of_data(ex):
                raise
            release_error(ex, is_handled=True)
            return ex
        finally:
            transaction.rollback()
        return None

    found = culprits(_candidates(conn, context), attempt) if is_of_data(error) else []
    if not found or len(found) > MOST_CULPRITS:
        raise error
    with conn.begin():
        for culprit in found:
            note(conn, context.spec.name, culprit, context.settings)
    return [culprit.tenant_id for culprit in found]


def _candidates(conn: Connection, context: RefreshContext) -> list[str]:
    """Return the tenants that the refresh reads and that are not in quarantine yet."""
    if context.tenants is not None:
        return list(context.tenants)
    tenant = context.spec.tenants.c.tenant_id
    mine = context.shard.holds(tenant), tenant != "", tenant.not_in(context.excluded)
    with conn.begin():
        return list(conn.execute(select(tenant).where(*mine).distinct().order_by(tenant)).scalars())


def retry_due(conn: Connection, context: RefreshContext, *, since: datetime) -> None:
    """Retry each tenant that is due, and was not tried since `since`, by itself: release it, or count a failure."""
    signal = context.spec.name
    with conn.begin():
        tenants = due(conn, signal, context.shard, since=since)
    for tenant in tenants:
        try:
            with conn.begin():
                set_limits(conn, context.settings)
                refresh_batch(conn, replace(context, tenants=[tenant]))
                release(conn, signal, [tenant])
        except DBAPIError as ex:
            if not is_of_data(ex):
                raise
            with conn.begin():
                note(conn, signal, Culprit(tenant, ex), context.settings)
            release_error(ex, is_handled=True)
