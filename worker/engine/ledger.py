"""The ledger of refreshes: one row per attempt, written outside the attempt's own transaction.

What happened stays readable when the attempt fails (docs/architecture.md#ledger-states). Every function takes a
connection in autocommit mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, case, func, or_, select, text, update

from snapshots.errors import first_line
from snapshots.signals import LOCK_CLASS, SIGNALS, SLOTS
from snapshots.tables import refresh
from worker.engine.context import RefreshRequest
from worker.engine.locks import first_key
from worker.engine.shards import Shard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from worker.engine.context import RefreshResult

#: The slots of a row are those of its shard, or of the tenants that it names.
_CLOSE_LOST: Final = text("""
update signals.refresh
set state = 'failed', finished_at = clock_timestamp(), error_class = 'WorkerLost', error = 'the worker ended'
where
    state = 'running'
    and refresh_id is distinct from cast(:besides as bigint)
    and exists (
        select
        from generate_series(0, cast(:slots as integer) - 1) as slot
        where
            case
                when tenants is null then slot % shards = shard
                else slot in (select signals.slot_of(tenant) from unnest(tenants) as tenant)
            end
            and not exists (
                select from pg_catalog.pg_locks
                where
                    pg_locks.locktype = 'advisory'
                    and pg_locks.database = (select oid from pg_catalog.pg_database where datname = current_database())
                    and pg_locks.classid = cast(:lock_class as bigint)
                    and pg_locks.objid
                    = (cast(:first_keys as bigint[]))[array_position(cast(:signals as text[]), signal)] + slot
                    and pg_locks.objsubid = 2
                    and pg_locks.granted
                    and pg_locks.pid <> coalesce(cast(:holder as integer), pg_backend_pid())
            )
    )
""")


def request(conn: Connection, request: RefreshRequest) -> int:
    """Record a request, and return its ledger id."""
    values = {
        "signal": request.signal,
        "mode": request.mode,
        "requested_by": request.requested_by,
        "shard": request.shard.number,
        "shards": request.shard.count,
        "tenants": list(request.tenants) if request.tenants else None,
        "is_full": request.is_full or request.mode == "reconcile",
        "state": "requested",
    }
    return int(conn.execute(refresh.insert().values(values).returning(refresh.c.refresh_id)).scalar_one())


def claim(conn: Connection, refresh_id: int) -> RefreshRequest | None:
    """Return what `refresh_id` asks for, or None when it is over.

    A row that is still running is delivered again when its worker was lost: the lock tells whether it was.
    """
    is_open = refresh.c.refresh_id == refresh_id, refresh.c.state.in_(["requested", "running"])
    row = conn.execute(select(refresh).where(*is_open)).one_or_none()
    if row is None:
        return None
    shard = Shard(row.shard, row.shards)
    return RefreshRequest(row.signal, row.mode, row.requested_by, shard, row.tenants, row.is_full)


def overdue(conn: Connection, *, older_than_s: int, at_most: int) -> Sequence[tuple[int, str]]:
    """Return the requests so old that their message must be lost, the oldest first; beat sends a tick again."""
    limit = func.clock_timestamp() - text("make_interval(secs => :age)").bindparams(age=older_than_s)
    waits = refresh.c.mode != "tick", refresh.c.state == "requested", refresh.c.requested_at < limit
    found = select(refresh.c.refresh_id, refresh.c.signal).where(*waits).order_by(refresh.c.refresh_id).limit(at_most)
    return [(row.refresh_id, row.signal) for row in conn.execute(found)]


def mark_running(conn: Connection, refresh_id: int, *, as_of: datetime, fence: int) -> bool:
    """Write down that the lock is held and the work begins; False when it is over already.

    Whoever holds the lock may take a running row: the worker that ran it is gone.
    """
    values = {"state": "running", "as_of": as_of, "fence": fence, "started_at": func.clock_timestamp()}
    condition = refresh.c.refresh_id == refresh_id, refresh.c.state.in_(["requested", "running"])
    return bool(conn.execute(update(refresh).where(*condition).values(values)).rowcount)


def mark_coalesced(conn: Connection, refresh_id: int, reason: Exception) -> None:
    """Write down that another refresh of the same signal was under way, which answers this one too, and whose."""
    over = {"state": "coalesced", "finished_at": func.clock_timestamp()}
    _transition(conn, refresh_id, "requested", over | _error(reason))


def mark_succeeded(conn: Connection, refresh_id: int, result: RefreshResult) -> None:
    """Write down what a finished refresh did."""
    values = {
        "state": "succeeded",
        "finished_at": func.clock_timestamp(),
        "tenants_seen": result.tenants_seen,
        "tenants_changed": result.tenants_changed,
        "rows_changed": result.rows_changed,
        "method": result.method,
        "marks": result.marks,
        "drift": result.drift,
        "tenants_failed": result.tenants_failed,
        "error_class": None,
        "error": None,
    }
    conn.execute(update(refresh).where(refresh.c.refresh_id == refresh_id).values(values))


def mark_failed(conn: Connection, refresh_id: int, error: BaseException, *, will_retry: bool) -> None:
    """Write down why an attempt failed; one that is tried again goes back to `requested`, its error kept."""
    over: dict[str, object] = {"state": "failed", "finished_at": func.clock_timestamp()}
    values = _error(error) | ({"state": "requested"} if will_retry else over)
    conn.execute(update(refresh).where(refresh.c.refresh_id == refresh_id).values(values))


def _error(error: BaseException) -> dict[str, object]:
    return {"error_class": type(error).__name__, "error": first_line(error)}


def close_abandoned(conn: Connection, *, older_than_s: int) -> int:
    """Fail the attempts whose worker was lost: still running `older_than_s` seconds after they began.

    So is what the schedule asked for and nobody began: its worker was lost before, while it waited for the lock, say.
    One that was put back keeps the error that says why. What an operator asked for may wait for a worker, until the
    ledger forgets it.
    """
    limit = func.clock_timestamp() - text("make_interval(secs => :age)").bindparams(age=older_than_s)
    kept = (refresh.c.state == "requested") & refresh.c.error_class.is_not(None)
    values = {
        "state": "failed",
        "finished_at": func.clock_timestamp(),
        "error_class": case((kept, refresh.c.error_class), else_="WorkerLost"),
        "error": case((kept, refresh.c.error), else_="the worker ended"),
    }
    is_scheduled = refresh.c.mode.in_(["tick", "reconcile"])
    lost = or_(
        and_(refresh.c.state == "running", refresh.c.started_at < limit),
        and_(refresh.c.state == "requested", is_scheduled, refresh.c.requested_at < limit),
    )
    return int(conn.execute(update(refresh).where(lost).values(values)).rowcount)


def close_lost(conn: Connection, *, besides: int | None = None, holder: int | None = None) -> int:
    """Fail the attempts under way whose worker's session is gone, and return how many; `besides` is left alone.

    A worker holds the locks of all its slots from before its row says running until after it says otherwise. One that
    is free, or that the backend process `holder` (this session without it) holds, is of a worker that was lost.
    """
    binds = {
        "lock_class": LOCK_CLASS,
        "slots": SLOTS,
        "signals": list(SIGNALS),
        "first_keys": [first_key(signal) for signal in SIGNALS],
        "besides": besides,
        "holder": holder,
    }
    return int(conn.execute(_CLOSE_LOST, binds).rowcount)


def delete_older_than(conn: Connection, days: int) -> int:
    """Delete the attempts that were requested more than `days` days ago and are not under way; return how many."""
    limit = func.clock_timestamp() - text("make_interval(days => :age)").bindparams(age=days)
    over = refresh.c.state != "running", refresh.c.requested_at < limit
    return int(conn.execute(refresh.delete().where(*over)).rowcount)


def _transition(conn: Connection, refresh_id: int, state: str, values: dict[str, object]) -> bool:
    """Change the row while it is in `state`, and tell whether it was: of two workers, one wins."""
    condition = refresh.c.refresh_id == refresh_id, refresh.c.state == state
    return bool(conn.execute(update(refresh).where(*condition).values(values)).rowcount)
