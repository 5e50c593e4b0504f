"""Final checks of a campaign: no drift, no waiting request, nothing left behind."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, text

from ops.health.broker import UNACKED_KEY
from ops.local.startup import clock, unpublished
from snapshots.tables import quarantine, snapshot, snapshot_history
from tests.chaos.faults import locks_held
from tests.chaos.notes import digest
from tests.worker.agreement import assert_published_equals_staged
from worker.engine.refresh import refresh
from worker.housekeeping.retention import DAYS_AHEAD
from worker.schedule import QUEUES
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from tests.chaos.notes import Notes
    from tests.chaos.world import World

_DRAINED_S: Final = 60.0
_OVER_S: Final = 60.0
_QUEUES: Final = ("dirty_trace", "dirty_run", "dirty_agent")


def judge(world: World, notes: Notes) -> list[str]:
    """Wait until the writers' last change is published, stop everything but the servers, and return what is wrong."""
    since = clock(world.engine)
    drained = world.until(lambda: not unpublished(world.engine, since) and not _marks(world), _DRAINED_S)
    pruned = world.until(lambda: not _old_rows(world) and not _old_partitions(world), _OVER_S)
    world.crew.stop("beat")
    silent = world.until(lambda: not any(_waiting(world).values()), _DRAINED_S)
    found = [] if drained is not None else [f"not drained in {_DRAINED_S:.0f} s: {_marks(world)} marks"]
    found += [] if silent is not None else [f"messages wait: {_waiting(world)}"]
    found += [] if pruned is not None else [*_old_rows(world), *_old_partitions(world)]
    for kind in ("api", "worker"):
        world.crew.stop(kind)
    found += [f"left behind: {process}" for process in world.leftovers()]
    found += [f"{locks_held(world)} advisory locks are held"] if locks_held(world) else []
    return [*found, *_drift(world), *_disagreements(world), *_unknown_contents(world, notes), *_set_aside(world)]


def unacknowledged(world: World) -> int:
    """Return the messages that lost workers had taken: the broker delivers them again after its visibility timeout."""
    with world.broker() as broker:
        return int(broker.hlen(UNACKED_KEY))


def _waiting(world: World) -> dict[str, int]:
    with world.broker() as broker:
        lengths = {queue: broker.llen(queue) for queue in QUEUES}
    return {queue: int(length) for queue, length in lengths.items()}


def _marks(world: World) -> int:
    with world.engine.connect() as conn:
        counts = (text(f"select count(*) from signals.{name}") for name in _QUEUES)  # noqa: S608  # ours
        return sum(conn.execute(count).scalar_one() for count in counts)


def _old_rows(world: World) -> list[str]:
    """Return the ledger's rows that nobody works on and nobody has closed."""
    old = text(
        "select format('ledger row %s is %s since %s', refresh_id, state, requested_at) from signals.refresh"
        " where state in ('running', 'requested')"
        " and coalesce(started_at, requested_at) < clock_timestamp() - make_interval(secs => :age)"
    )
    age_s = 2 * world.settings.refresh_timeout_s + world.settings.prune_period_s
    with world.engine.connect() as conn:
        return list(conn.execute(old, {"age": age_s}).scalars())


def _old_partitions(world: World) -> list[str]:
    """Return the history's partitions outside of what retention keeps."""
    names = text(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'signals.snapshot_history'::regclass"
    )
    with world.engine.connect() as conn:
        today = conn.execute(select(func.current_date())).scalar_one()
        found = {name.rpartition("_")[2]: name for name in conn.execute(names).scalars()}
    days = range(-world.settings.history_days - 1, DAYS_AHEAD + 2)
    kept = {f"{today + timedelta(days=day):%Y%m%d}" for day in days}
    return [f"{name} is beyond retention" for day, name in found.items() if day not in {*kept, "default"}]


def _drift(world: World) -> list[str]:
    drifted = text(
        "select format('ledger row %s repaired %s tenants', refresh_id, drift) from signals.refresh where drift > 0"
    )
    with world.engine.connect() as conn:
        return list(conn.execute(drifted).scalars())


def _disagreements(world: World) -> list[str]:
    """Return what a last reconcile repairs, and where a full recompute of its instant finds something else."""
    found = []
    for name in SIGNALS:
        result = refresh(world.engine, name, world.settings, mode="reconcile")
        if result is None or result.drift:
            found.append(f"{name}: the last reconcile repaired {result and result.drift} tenants")
        found += disagreement(world.engine, name, result.as_of if result else clock(world.engine))
    return found


def disagreement(engine: Engine, name: str, as_of: datetime) -> list[str]:
    """Return where the published snapshots of a signal differ from a full recompute of `as_of`."""
    with engine.connect() as conn:
        try:
            assert_published_equals_staged(conn, SIGNALS[name], as_of)
        except AssertionError as ex:
            return [f"{name}: published is not what a full recompute finds: {str(ex)[:500]}"]
    return []


def _unknown_contents(world: World, notes: Notes) -> list[str]:
    """Return what readers were served under a version that the database knows with another content, or not at all.

    Versions of the queue that moves with the clock are not all kept.
    """
    with world.engine.connect() as conn:
        kept = {**_digests(conn, snapshot_history), **_digests(conn, snapshot)}
    found = []
    for key, seen in notes.contents.items():
        tenant, signal, version = key
        may_be_gone = SIGNALS[signal].moves_with_clock
        if kept.get(key, seen if may_be_gone else None) != seen:
            found.append(f"{tenant} {signal}: version {version} was served with another content than it had")
    return found


def _digests(conn: Connection, source: object) -> dict[tuple[str, str, int], str]:
    table = source.c  # type: ignore[attr-defined]  # a Table
    rows = conn.execute(select(table.tenant_id, table.signal, table.version, table.content))
    return {(row.tenant_id, row.signal, row.version): digest(json.loads(row.content)) for row in rows}


def _set_aside(world: World) -> list[str]:
    with world.engine.connect() as conn:
        rows = conn.execute(select(quarantine.c.signal, quarantine.c.tenant_id, quarantine.c.error)).all()
    return [f"{row.signal}: {row.tenant_id} is still set aside: {row.error}" for row in rows]
