"""Health as PostgreSQL states it: freshness, the ledger of refreshes, change events, quarantine.

Source: docs/specification-notes.md#rescoring, docs/specification-notes.md#fencing-and-the-database-clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, case, func, or_, select, text
from sqlalchemy.dialects.postgresql import distinct_on

from ops.health import ingest, locks
from ops.health.ages import Crowd, spread
from ops.health.state import Attempts, Compared, DatabaseHealth, LastRefresh, Quarantined, SignalHealth, Spread, Waiting
from snapshots import catalogue
from snapshots.body import STALE_GRACE
from snapshots.signals import DETACHED, SCHEMA_REVISION, SIGNALS, SLOTS
from snapshots.tables import freshness, quarantine, refresh, snapshot
from worker.engine import capture_trust, change_queue
from worker.signals.registry import SIGNALS as SIGNAL_RULES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection, Row

    from snapshots.settings import Settings

#: A longer queue is counted no further.
MARKS_COUNTED: Final = 100_000
#: Tenants in quarantine that are listed; their number is counted beyond.
_LISTED: Final = 1000
#: statement_timeout of every reading, seconds.
STATEMENT_TIMEOUT_S: Final = 5
_STATEMENT_LIMIT: Final = text(f"select set_config('statement_timeout', '{STATEMENT_TIMEOUT_S}s', true)")
_HAS_QUARANTINE: Final = text("select to_regclass('signals.quarantine')")
_HAS_REVISION: Final = text("select to_regclass('signals.alembic_version') is not null")
_REVISION: Final = text("select version_num from signals.alembic_version")
_SCORED: Final = text(
    "select percentile_disc(array[0.5, 0.95, 0.99, 1]) within group (order by as_of desc)"
    " from signals.snapshot where signal = :signal"
)
#: Attempts are counted for this long after their end, seconds.
ATTEMPTS_WINDOW_S: Final = 3600
#: An attempt that was asked for before that is not looked for any more: the ledger's index is on that column, seconds.
_LOOK_BACK_S: Final = 2 * ATTEMPTS_WINDOW_S
_WAITING_LOOK_BACK_S: Final = 86_400

#: How many tenants have a snapshot, by signal and slot.
Crowds = dict[str, dict[int, int]]

#: A lost worker ended at an unknown instant: its attempt ended when another noticed.
_DURATION: Final = case(
    (
        refresh.c.error_class.is_distinct_from("WorkerLost"),
        func.extract("epoch", refresh.c.finished_at - refresh.c.started_at),
    )
)
_SHARD: Final = (refresh.c.signal, refresh.c.shards, refresh.c.shard)


def begin(conn: Connection) -> None:
    """Have the transaction of `conn` see one state of the database, and take no longer than it should."""
    conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    conn.execute(_STATEMENT_LIMIT)


def schema_faults(conn: Connection) -> Sequence[str]:
    """Return the parts of the schema that are missing or differ, and the host's tables that hide rows.

    A schema of another revision is not judged: `activity migrate` comes first.
    """
    found = conn.execute(_REVISION).scalar() if conn.execute(_HAS_REVISION).scalar_one() else None
    if found not in {SCHEMA_REVISION, DETACHED, None}:
        return ()
    return [*catalogue.faults(catalogue.read(conn)), *catalogue.source_faults(conn)]


def crowds(conn: Connection) -> Crowds:
    """Return the number of snapshots by signal and slot; reads an index of every tenant's, so keep it for a while."""
    slot = func.signals.slot_of(snapshot.c.tenant_id).label("slot")
    found: Crowds = {name: {} for name in SIGNALS}
    for row in conn.execute(select(snapshot.c.signal, slot, func.count().label("tenants")).group_by("signal", "slot")):
        found[row.signal][row.slot] = row.tenants
    return found


def read(conn: Connection, settings: Settings, tenants: Crowds) -> DatabaseHealth:
    """Return what the database tells, in the transaction of `begin`."""
    now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    aside, counted = _quarantine(conn)
    story = _Story(
        now,
        slots=_by_signal(conn.execute(select(freshness)).all()),
        tenants=tenants,
        quarantine=aside,
        quarantined=counted,
        failures=_failures_in_a_row(conn, now),
        compared=_compared(conn, now, 2 * settings.reconcile_period_s),
        ahead=_ahead(conn, now),
    )
    return DatabaseHealth(
        signals=[_signal(conn, name, story) for name in SIGNALS],
        attempts=_attempts(conn, now),
        last=_last(conn, now, max(_LOOK_BACK_S, 2 * settings.reconcile_period_s)),
        waiting=_waiting(conn, now),
        quarantine=[_quarantined(row, now) for row in aside],
        ingest=ingest.read(conn, settings, now),
        blocked=locks.read(conn, now),
    )


@dataclass(frozen=True, slots=True)
class _Story:
    """Rows read for all signals at once, at the instant `now` of the database's clock."""

    now: datetime
    slots: Mapping[str, Sequence[Row[Any]]]
    tenants: Crowds
    quarantine: Sequence[Row[Any]]
    quarantined: Mapping[str, int]
    failures: Mapping[str, int]
    compared: Mapping[str, Compared]
    ahead: frozenset[str]


def _signal(conn: Connection, name: str, story: _Story) -> SignalHealth:
    slots = story.slots.get(name, ())
    is_whole = len(slots) == SLOTS
    age_s = max(_seconds(story.now, slot.verified_at) for slot in slots) if is_whole else None
    period_s = max((slot.period_s for slot in slots), default=None)
    limit_s = None if period_s is None else 2 * period_s + STALE_GRACE.total_seconds()
    ended = refresh.c.signal == name, refresh.c.state.in_(["succeeded", "failed"])
    trust = capture_trust.read(conn, SIGNAL_RULES[name])
    last = conn.execute(select(refresh).where(*ended).order_by(refresh.c.refresh_id.desc()).limit(1)).one_or_none()
    return SignalHealth(
        signal=name,
        as_of=min(slot.as_of for slot in slots) if is_whole else None,
        age_s=age_s,
        lag_s=max(_seconds(story.now, slot.as_of) for slot in slots) if is_whole else None,
        period_s=period_s,
        stale_after_s=limit_s,
        is_stale=age_s is None or limit_s is None or age_s > limit_s,
        slots_confirmed=len(slots),
        tenants=sum(story.tenants[name].values()),
        ages=_spreads(name, story, "verified_at"),
        lags=_spreads(name, story, "as_of") | _scored(conn, name, story.now),
        last_state=last.state if last else None,
        last_error=f"{last.error_class}: {last.error}" if last and last.error_class else None,
        failures_in_a_row=story.failures.get(name, 0),
        compared=story.compared.get(name),
        clock_set_back=name in story.ahead or any(slot.as_of > story.now for slot in slots),
        is_captured=trust.is_captured,
        is_capture_lost=trust.is_lost,
        capture_losses=trust.losses,
        marks_waiting=change_queue.backlog(conn, SIGNAL_RULES[name], at_most=MARKS_COUNTED),
        quarantined=story.quarantined.get(name, 0),
    )


def _spreads(name: str, story: _Story, column: str) -> dict[str, Spread]:
    """Return how the ages of `column` are spread over slots, and over tenants; what is set aside ages by itself."""
    ages = {slot.slot: _seconds(story.now, getattr(slot, column)) for slot in story.slots.get(name, ())}
    aside = [row for row in story.quarantine if row.signal == name]
    crowd = Crowd(ages, story.tenants[name], [(row.slot, _seconds(story.now, row.first_failed_at)) for row in aside])
    found = {"slots": spread([(age, 1) for age in ages.values()]), "tenants": crowd.spread()}
    return {over: each for over, each in found.items() if each is not None}


def _scored(conn: Connection, name: str, now: datetime) -> dict[str, Spread]:
    """Return the ages of the queues' scores, which hold for their own instant and not for the slot's."""
    if not SIGNAL_RULES[name].moves_with_clock:
        return {}
    instants = conn.execute(_SCORED, {"signal": name}).scalar_one()
    return {} if instants is None else {"tenants": Spread(*(_seconds(now, instant) for instant in instants))}


def _failures_in_a_row(conn: Connection, now: datetime) -> dict[str, int]:
    """Return, by signal, how often the shard that fails most has failed since its last success."""
    recent = refresh.c.requested_at > now - timedelta(seconds=_LOOK_BACK_S)
    succeeded = refresh.c.state == "succeeded"
    latest = select(*_SHARD, func.max(refresh.c.refresh_id).label("refresh_id")).where(recent, succeeded)
    success = latest.group_by(*_SHARD).subquery()
    same = and_(*(success.c[column.name] == column for column in _SHARD))
    failed = recent, refresh.c.state == "failed", refresh.c.refresh_id > func.coalesce(success.c.refresh_id, 0)
    counted = select(*_SHARD, func.count().label("failures")).select_from(refresh.outerjoin(success, same))
    shards = counted.where(*failed).group_by(*_SHARD).subquery()
    rows = select(shards.c.signal, func.max(shards.c.failures).label("failures")).group_by(shards.c.signal)
    return {row.signal: row.failures for row in conn.execute(rows)}


def _compared(conn: Connection, now: datetime, look_back_s: int) -> dict[str, Compared]:
    """Return, by signal, what the last comparison of each shard with a full recompute had to repair."""
    recent = refresh.c.requested_at > now - timedelta(seconds=look_back_s), refresh.c.drift.is_not(None)
    newest = select(*_SHARD, refresh.c.drift, refresh.c.finished_at).ext(distinct_on(*_SHARD)).where(*recent)
    shards = newest.order_by(*_SHARD, refresh.c.refresh_id.desc()).subquery()
    summed = func.sum(shards.c.drift).label("drift"), func.min(shards.c.finished_at).label("finished_at")
    rows = select(shards.c.signal, *summed).group_by(shards.c.signal)
    return {row.signal: Compared(row.drift, _seconds(now, row.finished_at)) for row in conn.execute(rows)}


def _ahead(conn: Connection, now: datetime) -> frozenset[str]:
    """Return the signals whose ledger knows an instant that has not come yet: the clock was set back."""
    is_ahead = or_(refresh.c.requested_at > now, refresh.c.as_of > now)
    recent = refresh.c.requested_at > now - timedelta(seconds=_LOOK_BACK_S)
    return frozenset(conn.execute(select(refresh.c.signal).distinct().where(recent, is_ahead)).scalars())


def _attempts(conn: Connection, now: datetime) -> list[Attempts]:
    method = func.coalesce(refresh.c.method, "none")
    kind = refresh.c.signal, refresh.c.mode, method.label("method"), refresh.c.state.label("outcome")
    numbers = (
        func.count().label("count"),
        func.avg(_DURATION).label("mean_s"),
        func.max(_DURATION).label("max_s"),
        func.coalesce(func.sum(refresh.c.rows_changed), 0).label("rows_changed"),
    )
    recent = refresh.c.requested_at > now - timedelta(seconds=_LOOK_BACK_S)
    ended = refresh.c.finished_at > now - timedelta(seconds=ATTEMPTS_WINDOW_S)
    rows = conn.execute(select(*kind, *numbers).where(recent, ended).group_by(*kind))
    return [
        Attempts(
            row.signal,
            row.mode,
            row.method,
            row.outcome,
            row[4],
            _number(row.mean_s),
            _number(row.max_s),
            int(row.rows_changed),
        )
        for row in rows
    ]


def _last(conn: Connection, now: datetime, look_back_s: int) -> list[LastRefresh]:
    kind = refresh.c.signal, refresh.c.mode
    named = refresh.c.finished_at, _DURATION.label("duration_s"), refresh.c.rows_changed
    recent = refresh.c.requested_at > now - timedelta(seconds=look_back_s), refresh.c.state == "succeeded"
    newest = select(*kind, *named).ext(distinct_on(*kind)).where(*recent).order_by(*kind, refresh.c.refresh_id.desc())
    return [
        LastRefresh(row.signal, row.mode, row.finished_at, float(row.duration_s), row.rows_changed or 0)
        for row in conn.execute(newest)
    ]


def _waiting(conn: Connection, now: datetime) -> list[Waiting]:
    recent = refresh.c.requested_at > now - timedelta(seconds=_WAITING_LOOK_BACK_S), refresh.c.state == "requested"
    counted = func.count().label("count"), func.min(refresh.c.requested_at).label("oldest")
    rows = conn.execute(select(refresh.c.mode, *counted).where(*recent).group_by(refresh.c.mode))
    return [Waiting(row.mode, row[1], _seconds(now, row.oldest)) for row in rows]


def _quarantine(conn: Connection) -> tuple[Sequence[Row[Any]], dict[str, int]]:
    """Return the tenants set aside, the oldest first, and their number by signal; none before their table is there."""
    if conn.execute(_HAS_QUARANTINE).scalar_one() is None:
        return [], {}
    slot = func.signals.slot_of(quarantine.c.tenant_id).label("slot")
    rows = conn.execute(select(quarantine, slot).order_by(quarantine.c.first_failed_at).limit(_LISTED)).all()
    counted = select(quarantine.c.signal, func.count().label("tenants")).group_by(quarantine.c.signal)
    return rows, {row.signal: row.tenants for row in conn.execute(counted)}


def _quarantined(row: Row[Any], now: datetime) -> Quarantined:
    age_s = _seconds(now, row.first_failed_at)
    return Quarantined(row.signal, row.tenant_id, row.failures, row.error_class, row.error, age_s, row.retry_at)


def _by_signal(rows: Sequence[Row[Any]]) -> dict[str, list[Row[Any]]]:
    return {name: [row for row in rows if row.signal == name] for name in SIGNALS}


def _seconds(now: datetime, then: datetime) -> float:
    return (now - then).total_seconds()


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
