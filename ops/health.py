"""The state of a running system, read from the ledger and the broker."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import redis
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import func, select

from snapshots.body import STALE_GRACE
from snapshots.signals import SIGNALS, SLOTS
from snapshots.tables import freshness, refresh
from worker import marks
from worker.app import create_app
from worker.registry import SIGNALS as SIGNAL_RULES
from worker.schedule import MANUAL_QUEUE, SCHEDULED_QUEUE

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine, Row

    from snapshots.settings import Settings

#: A longer queue is counted no further.
MARKS_COUNTED: Final = 100_000
PING_TIMEOUT_S: Final = 1.0
#: Where RedBeat keeps the lock of the active beat, below our key prefix.
BEAT_LOCK_KEY: Final = "activity:beat::lock"


@dataclass(frozen=True, slots=True)
class SignalHealth:
    """One signal: ages in seconds; None where it has never been computed."""

    signal: str
    as_of: str | None
    age_s: float | None
    is_stale: bool
    last_state: str | None
    last_error: str | None
    clock_set_back: bool
    is_captured: bool
    marks_waiting: int


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """What the broker says; None where it does not answer or none is configured."""

    answers: bool = False
    queue_depth: dict[str, int] = field(default_factory=dict)
    workers: list[str] = field(default_factory=list)
    beat_alive: bool | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that `activity status` shows."""

    signals: list[SignalHealth]
    broker: BrokerHealth

    @property
    def is_fresh(self) -> bool:
        """Tell whether every signal has been confirmed within its time, by a clock that goes forward."""
        return not any(signal.is_stale or signal.clock_set_back for signal in self.signals)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return {"fresh": self.is_fresh, **asdict(self)}

    def as_text(self) -> str:
        """Return the report as lines for a person."""
        return "\n".join([*map(_signal_line, self.signals), _broker_line(self.broker)])


def inspect(engine: Engine, settings: Settings) -> Report:
    """Return the state of the system as the ledger and the broker tell it; a broker that is away is no error."""
    with engine.connect() as conn:
        signals = [_signal(conn, name) for name in SIGNALS]
    return Report(signals, _broker(settings))


def _signal(conn: Connection, name: str) -> SignalHealth:
    now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    fresh = _freshness(conn, name)
    ended = refresh.c.signal == name, refresh.c.state.in_(["succeeded", "failed"])
    last = conn.execute(select(refresh).where(*ended).order_by(refresh.c.refresh_id.desc()).limit(1)).one_or_none()
    limit = timedelta(seconds=2 * fresh.period_s) + STALE_GRACE if fresh else None
    return SignalHealth(
        signal=name,
        as_of=fresh.as_of.isoformat() if fresh else None,
        age_s=round((now - fresh.verified_at).total_seconds(), 1) if fresh else None,
        is_stale=fresh is None or limit is None or now - fresh.verified_at > limit,
        last_state=last.state if last else None,
        last_error=f"{last.error_class}: {last.error}" if last and last.error_class else None,
        clock_set_back=bool(fresh and fresh.as_of > now) or _is_ahead(conn, name, now),
        is_captured=marks.fingerprint(conn, SIGNAL_RULES[name]) is not None,
        marks_waiting=marks.backlog(conn, SIGNAL_RULES[name], at_most=MARKS_COUNTED),
    )


def _freshness(conn: Connection, name: str) -> Row[Any] | None:
    """Return the age of the slot that was confirmed longest ago; None unless every slot has been."""
    oldest = select(
        func.count().label("slots"),
        func.min(freshness.c.as_of).label("as_of"),
        func.min(freshness.c.verified_at).label("verified_at"),
        func.max(freshness.c.period_s).label("period_s"),
    ).where(freshness.c.signal == name)
    row = conn.execute(oldest).one()
    return row if row.slots == SLOTS else None


def _is_ahead(conn: Connection, name: str, now: datetime) -> bool:
    """Tell whether a refresh in the ledger ran at an instant that has not come yet: the clock was set back (R2a)."""
    ahead = refresh.c.signal == name, refresh.c.as_of > now
    return conn.execute(select(refresh.c.refresh_id).where(*ahead).limit(1)).first() is not None


def _broker(settings: Settings) -> BrokerHealth:
    if settings.broker_url is None:
        return BrokerHealth()
    try:
        with redis.Redis.from_url(
            settings.broker_url.get_secret_value(), socket_timeout=2, socket_connect_timeout=2
        ) as client:
            depth = {name: int(client.llen(name)) for name in (SCHEDULED_QUEUE, MANUAL_QUEUE)}
            beat_alive = bool(client.exists(BEAT_LOCK_KEY))
        answers = create_app(settings).control.ping(timeout=PING_TIMEOUT_S) or []
    except (redis.RedisError, BrokerError, OSError):
        return BrokerHealth()
    return BrokerHealth(
        answers=True,
        queue_depth=depth,
        workers=sorted(name for answer in answers for name in answer),
        beat_alive=beat_alive,
    )


def _signal_line(signal: SignalHealth) -> str:
    if signal.age_s is None:
        head = f"{signal.signal}: never computed"
    else:
        head = f"{signal.signal}: {'STALE' if signal.is_stale else 'fresh'}, confirmed {signal.age_s:.0f} s ago"
    last = f"; last refresh {signal.last_state}" if signal.last_state else ""
    error = f" ({signal.last_error})" if signal.last_error else ""
    captured = f"; {signal.marks_waiting} marks wait" if signal.is_captured else "; changes are not captured"
    return head + last + error + captured + ("; the database's clock was set back" if signal.clock_set_back else "")


def _broker_line(broker: BrokerHealth) -> str:
    if not broker.answers:
        return "broker: no answer"
    depth = ", ".join(f"{name} {count}" for name, count in broker.queue_depth.items())
    beat = "alive" if broker.beat_alive else "not running"
    return f"broker: queued {depth}; workers {', '.join(broker.workers) or 'none'}; beat {beat}"
