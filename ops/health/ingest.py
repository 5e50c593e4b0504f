"""Health of ingest: whether traces arrive, and whether they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from ops.health.state import IngestHealth

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from snapshots.settings import Settings

#: Traces that are counted, of those that wait and of those of the last hour; more are counted no further.
TRACES_COUNTED: Final = 10_000
#: A span that has waited for so much longer than the longest wait is written by nobody, seconds.
GRACE_S: Final = 300

#: A schema of before the receiver, or of before this role could see it, tells nothing.
_MAY_LOOK: Final = text(
    "select coalesce(has_column_privilege(to_regclass('signals.ingested_trace'), 'pending', 'select'), false)"
)
_STATE: Final = text("""
with waiting as (
    select pending, pending_since from signals.ingested_trace
    where pending > 0 order by pending_since limit :counted
),

recent as (
    select refused from signals.ingested_trace
    where last_arrived_at > cast(:as_of as timestamptz) - interval '1 hour'
    order by last_arrived_at desc limit :counted
)

select
    (select max(last_arrived_at) from signals.ingested_trace) as last_arrived_at,
    (select count(*) from recent) as traces,
    (select coalesce(sum(refused), 0) from recent) as refused,
    (select coalesce(sum(pending), 0) from waiting) as waiting,
    (select min(pending_since) from waiting) as waiting_since
""")


def read(conn: Connection, settings: Settings, now: datetime) -> IngestHealth | None:
    """Return what is known at `now`, the database's; None where nothing was taken in that is still remembered."""
    if not conn.execute(_MAY_LOOK).scalar_one():
        return None
    row = conn.execute(_STATE, {"as_of": now, "counted": TRACES_COUNTED}).one()
    if row.last_arrived_at is None:
        return None
    return IngestHealth(
        last_arrived_at=row.last_arrived_at,
        last_arrived_s=(now - row.last_arrived_at).total_seconds(),
        traces_last_hour=row.traces,
        spans_refused=int(row.refused),
        spans_waiting=int(row.waiting),
        oldest_s=0.0 if row.waiting_since is None else (now - row.waiting_since).total_seconds(),
        late_after_s=settings.ingest_max_wait_s + GRACE_S,
    )
