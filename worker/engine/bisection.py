"""A refresh that one tenant's data breaks: the culprits are found and set aside, and the others go on without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from worker.engine import quarantine
from worker.engine.errors import release
from worker.engine.incremental import refresh_batch
from worker.engine.limits import set_limits
from worker.engine.quarantine import MOST_CULPRITS, is_of_data

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from snapshots.settings import Settings
    from worker.engine.incremental import Instant, Order


def set_aside(conn: Connection, order: Order, settings: Settings, instant: Instant, error: DBAPIError) -> list[str]:
    """Set aside the tenants of the order that fail by themselves, and return them.

    Raises `error` when it is not of their data: no tenant fails alone, or too many do.
    """
    found = [] if not is_of_data(error) else _culprits(conn, order, settings, instant)
    if not found or len(found) > MOST_CULPRITS:
        raise error
    with conn.begin():
        for culprit in found:
            quarantine.note(conn, order.signal.name, culprit, settings)
    return [culprit.tenant_id for culprit in found]


def retry_due(conn: Connection, order: Order, settings: Settings, instant: Instant, *, since: datetime) -> None:
    """Try each tenant that is due, and was not tried since `since`, by itself: let it go, or count another failure."""
    with conn.begin():
        tenants = quarantine.due(conn, order.signal.name, order.shard, since=since)
    for tenant in tenants:
        one = replace(order, tenants=[tenant])
        try:
            with conn.begin():
                set_limits(conn, settings)
                refresh_batch(conn, one, settings, instant)
                quarantine.release(conn, order.signal.name, [tenant])
        except DBAPIError as ex:
            if not is_of_data(ex):
                raise
            with conn.begin():
                quarantine.note(conn, order.signal.name, quarantine.Culprit(tenant, ex), settings)
            release(ex, is_handled=True)


def _culprits(conn: Connection, order: Order, settings: Settings, instant: Instant) -> list[quarantine.Culprit]:
    def attempt(tenants: Sequence[str]) -> DBAPIError | None:
        return _error_of(conn, replace(order, tenants=tenants), settings, instant)

    return quarantine.culprits(_candidates(conn, order), attempt)


def _candidates(conn: Connection, order: Order) -> list[str]:
    """Return the tenants that the order reads and that are not set aside yet."""
    if order.tenants is not None:
        return list(order.tenants)
    tenant = order.signal.tenants.c.tenant_id
    mine = order.shard.holds(tenant), tenant != "", tenant.not_in(order.excluded)
    with conn.begin():
        return list(conn.execute(select(tenant).where(*mine).distinct().order_by(tenant)).scalars())


def _error_of(conn: Connection, order: Order, settings: Settings, instant: Instant) -> DBAPIError | None:
    """Return what refreshing the order's tenants raises, and undo it either way."""
    transaction = conn.begin()
    try:
        set_limits(conn, settings)
        refresh_batch(conn, order, settings, instant)
    except DBAPIError as ex:
        if not is_of_data(ex):
            raise
        release(ex, is_handled=True)
        return ex
    finally:
        transaction.rollback()
    return None
