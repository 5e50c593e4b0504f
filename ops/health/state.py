"""The state of a running system, as PostgreSQL and the broker tell it: what `activity status` and the exporter print.

Ages and durations are in seconds. `ops.health.ledger` and `ops.health.broker` read it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from snapshots import catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Spread:
    """Distribution of ages: three quantiles by nearest rank, and the greatest."""

    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Compared:
    """The last comparison of each shard with a full recompute: tenants repaired, and the age of the oldest one."""

    drift: int
    age_s: float


@dataclass(frozen=True, slots=True)
class SignalHealth:
    """One signal; ages are None until every slot has been confirmed once.

    `age_s` is the time since the oldest slot was confirmed, `lag_s` the time since the instant that it answers for;
    `ages` and `lags` spread the same over `slots` and over `tenants`. Stale is what is older than `stale_after_s`.
    `capture_losses` says why refreshes read every row; `is_capture_lost` that capture was installed all the same.
    """

    signal: str
    as_of: datetime | None
    age_s: float | None
    lag_s: float | None
    period_s: int | None
    stale_after_s: float | None
    is_stale: bool
    slots_confirmed: int
    tenants: int
    ages: Mapping[str, Spread]
    lags: Mapping[str, Spread]
    last_state: str | None
    last_error: str | None
    failures_in_a_row: int
    compared: Compared | None
    clock_set_back: bool
    is_captured: bool
    is_capture_lost: bool
    capture_losses: Sequence[str]
    marks_waiting: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one kind that ended within the last hour; durations are None where none began its work."""

    signal: str
    mode: str
    method: str
    outcome: str
    count: int
    mean_s: float | None
    max_s: float | None
    rows_changed: int


@dataclass(frozen=True, slots=True)
class LastRefresh:
    """The last attempt of a signal and mode that succeeded."""

    signal: str
    mode: str
    finished_at: datetime
    duration_s: float
    rows_changed: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows of the ledger that no worker has begun yet."""

    mode: str
    count: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Blocked:
    """A signal whose refreshes have met a lock since they last succeeded; `error` names the sessions that hold it.

    `reason` is `lock_timeout` for a lock of a table or a row, `held` for the locks of another refresh.
    """

    signal: str
    reason: str
    since_s: float
    error: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A tenant that is set aside, since its data breaks a signal's query."""

    signal: str
    tenant_id: str
    failures: int
    error_class: str
    error: str
    age_s: float
    retry_at: datetime


@dataclass(frozen=True, slots=True)
class IngestHealth:
    """The traces taken in: of the last hour their number, and the spans of theirs that found no room or no place.

    `oldest_s` is the time since the first span came that is not written, 0 without one; `late_after_s` is its limit.
    """

    last_arrived_at: datetime
    last_arrived_s: float
    traces_last_hour: int
    spans_refused: int
    spans_waiting: int
    oldest_s: float
    late_after_s: float

    @property
    def problems(self) -> list[str]:
        """Return what keeps spans from being written."""
        if self.oldest_s <= self.late_after_s:
            return []
        why = "its /readyz, its log and `activity doctor` may say why"
        return [f"receiver: a span has waited for {self.oldest_s:.0f} s, and nobody writes it; {why}"]


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """State as PostgreSQL reports it; `ingest` is None where no traces are ingested.

    `schema_faults` names the parts of schema signals that are missing or differ; nothing at an older revision.
    """

    signals: Sequence[SignalHealth]
    attempts: Sequence[Attempts]
    last: Sequence[LastRefresh]
    waiting: Sequence[Waiting]
    quarantine: Sequence[Quarantined]
    ingest: IngestHealth | None = None
    schema_faults: Sequence[str] = ()
    blocked: Sequence[Blocked] = ()

    @property
    def problems(self) -> list[str]:
        """Return which signals a lock keeps from being fresh; what holds it for a moment only is none."""
        stale = {signal.signal for signal in self.signals if signal.is_stale}
        return [
            f"{each.signal}: refreshes have met a lock for {each.since_s:.0f} s: {each.error}"
            for each in self.blocked
            if each.signal in stale or each.reason == "lock_timeout"
        ]


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """One Celery queue; the age of its oldest message is None when it is empty, or the message does not tell."""

    queue: str
    messages: int
    oldest_s: float | None


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """State as the broker reports it; `unacked` are messages that workers have taken and not finished.

    `beat_lock_s` is what is left of the active beat's lock, None when nobody holds it. `evicts` is the policy by which
    the broker drops keys. One that `refuses` is there, and takes another password or lets this user do too little.
    """

    is_configured: bool = True
    answers: bool = False
    queues: Sequence[QueueHealth] = ()
    unacked: int = 0
    unacked_oldest_s: float | None = None
    workers: Sequence[str] = ()
    beat_lock_s: float | None = None
    evicts: str | None = None
    refuses: bool = False

    @property
    def problems(self) -> list[str]:
        """Return what keeps refreshes from happening."""
        if not self.is_configured:
            return []
        if self.refuses:
            return ["the broker refuses the user or the password of ACTIVITY_BROKER_URL"]
        if not self.answers:
            return ["the broker does not answer"]
        found = {"no worker answers": not self.workers, "no beat is active": self.beat_lock_s is None}
        return [problem for problem, is_there in found.items() if is_there]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that `activity status` shows."""

    database: DatabaseHealth
    broker: BrokerHealth = field(default_factory=BrokerHealth)

    @property
    def is_fresh(self) -> bool:
        """Tell whether every signal has been confirmed within its time, by a clock that goes forward.

        Nothing is fresh while parts of the schema are missing: rows could be hidden.
        """
        if self.database.schema_faults:
            return False
        return not any(signal.is_stale or signal.clock_set_back for signal in self.database.signals)

    @property
    def problems(self) -> list[str]:
        """Return what a person has to look into; nothing when all is well."""
        signals = [problem for signal in self.database.signals for problem in _problems(signal)]
        ingest = self.database.ingest.problems if self.database.ingest else []
        faults = self.database.schema_faults
        schema = [catalogue.as_sentence(faults)] if faults else []
        return [*schema, *signals, *self.database.problems, *ingest, *self.broker.problems]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values; instants are still datetimes."""
        return {
            "fresh": self.is_fresh,
            "problems": self.problems,
            **asdict(self.database),
            "broker": asdict(self.broker),
        }


def _problems(signal: SignalHealth) -> list[str]:
    found = {
        "never computed": signal.age_s is None,
        "stale": signal.is_stale and signal.age_s is not None,
        "the database's clock was set back": signal.clock_set_back,
        f"{signal.quarantined} tenants in quarantine": signal.quarantined > 0,
    }
    problems = [problem for problem, is_there in found.items() if is_there]
    if signal.is_capture_lost:
        problems += [f"capture is installed, but not relied on: {loss}" for loss in signal.capture_losses]
    return [f"{signal.signal}: {problem}" for problem in problems]
