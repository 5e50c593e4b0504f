"""Refreshes that a lock keeps from their work: for how long, and which sessions hold it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on

from ops.health.state import Blocked
from snapshots.signals import SIGNALS
from snapshots.tables import refresh
from worker.engine.errors import LocksHeldError, LockTimeoutError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

#: By the class of an attempt's error: something else holds a lock of a table or a row, or another refresh's session
#: holds the advisory locks of the shard.
REASONS: Final = {LockTimeoutError.__name__: "lock_timeout", LocksHeldError.__name__: "held"}
_SHARD: Final = (refresh.c.signal, refresh.c.shards, refresh.c.shard)
#: Older requests are not looked for: the ledger's index is on that column.
_LOOK_BACK: Final = timedelta(hours=2)


def read(conn: Connection, now: datetime) -> list[Blocked]:
    """Return, by signal and reason, since when refreshes have met a lock, and what the newest of them says of it.

    Of each shard, only what was asked for since its last success counts, and the longest time of all shards.
    """
    recent = refresh.c.requested_at > now - _LOOK_BACK
    ended = select(*_SHARD, func.max(refresh.c.finished_at).label("at"))
    success = ended.where(recent, refresh.c.state == "succeeded").group_by(*_SHARD).subquery()
    same = and_(*(success.c[column.name] == column for column in _SHARD))
    met = refresh.c.error_class.in_(REASONS), or_(success.c.at.is_(None), refresh.c.requested_at > success.c.at)
    kind = refresh.c.signal, refresh.c.error_class
    first = func.min(refresh.c.requested_at).over(partition_by=kind).label("first_at")
    rows = (
        select(*kind, refresh.c.error, first)
        .ext(distinct_on(*kind))
        .select_from(refresh.outerjoin(success, same))
        .where(recent, *met)
        .order_by(*kind, refresh.c.refresh_id.desc())
    )
    found = [
        Blocked(row.signal, REASONS[row.error_class], (now - row.first_at).total_seconds(), row.error)
        for row in conn.execute(rows)
    ]
    return sorted(found, key=lambda each: (SIGNALS.index(each.signal), each.reason))
