"""The state of a running system as lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snapshots.body import in_utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.health.state import Attempts, BrokerHealth, DatabaseHealth, QueueHealth, Report, SignalHealth

#: Tenants in quarantine that are shown; `--json` names more.
_SHOWN = 10


def as_text(report: Report) -> str:
    """Return the report as lines: each signal, what waits, the broker, and what is wrong last."""
    lines = [line for signal in report.database.signals for line in _signal(signal, report.database)]
    told = (_waiting, _quarantine, _ingest)
    lines += [*(line for each in told for line in each(report.database)), _broker(report.broker)]
    return "\n".join([*lines, *(f"PROBLEM: {problem}" for problem in report.problems)])


def _signal(signal: SignalHealth, database: DatabaseHealth) -> Iterator[str]:
    yield f"{signal.signal}: {_freshness(signal)}"
    attempts = [each for each in database.attempts if each.signal == signal.signal]
    yield f"  last hour: {_attempts(attempts)}; last refresh {signal.last_state or 'none'}{_error(signal)}"
    captured = f"{signal.marks_waiting} marks wait" if signal.is_captured else "not captured: full refreshes"
    yield f"  {captured}; {_drift(signal)}"


def _freshness(signal: SignalHealth) -> str:
    if signal.age_s is None or signal.lag_s is None:
        return "never computed"
    return (
        f"{'STALE' if signal.is_stale else 'fresh'}, confirmed {signal.age_s:.0f} s ago"
        f" (stale after {signal.stale_after_s:.0f} s), answers for {signal.lag_s:.0f} s ago; {signal.tenants} tenants"
    )


def _attempts(attempts: list[Attempts]) -> str:
    outcomes = {name: sum(each.count for each in attempts if each.outcome == name) for name in _OUTCOMES}
    longest = max((each.max_s for each in attempts if each.max_s is not None), default=None)
    counted = ", ".join(f"{count} {name}" for name, count in outcomes.items())
    return counted if longest is None else f"{counted}, longest {longest:.1f} s"


_OUTCOMES = ("succeeded", "failed", "coalesced")


def _error(signal: SignalHealth) -> str:
    return f" ({signal.last_error})" if signal.last_error else ""


def _drift(signal: SignalHealth) -> str:
    if signal.compared is None:
        return "not compared with a full recompute lately"
    return f"drift {signal.compared.drift} tenants, compared {signal.compared.age_s:.0f} s ago"


def _waiting(database: DatabaseHealth) -> Iterator[str]:
    for waiting in database.waiting:
        yield f"waiting: {waiting.count} requests ({waiting.mode}), the oldest for {waiting.oldest_s:.0f} s"


def _quarantine(database: DatabaseHealth) -> Iterator[str]:
    for each in database.quarantine[:_SHOWN]:
        yield (
            f"quarantine: {each.signal} of tenant {each.tenant_id}, {each.failures} failures since {each.age_s:.0f} s,"
            f" next try {in_utc(each.retry_at):%Y-%m-%dT%H:%M:%SZ} ({each.error_class}: {each.error})"
        )


def _ingest(database: DatabaseHealth) -> Iterator[str]:
    ingest = database.ingest
    if ingest is None:
        return
    oldest = f", the oldest for {ingest.oldest_s:.0f} s" if ingest.spans_waiting else ""
    yield (
        f"receiver: last span {ingest.last_arrived_s:.0f} s ago; last hour: {ingest.traces_last_hour} traces,"
        f" {ingest.spans_refused} spans refused; {ingest.spans_waiting} spans wait{oldest}"
    )


def _broker(broker: BrokerHealth) -> str:
    if not broker.is_configured:
        return "broker: none configured"
    if not broker.answers:
        return f"broker: {'refuses us' if broker.refuses else 'no answer'}"
    beat = "not running" if broker.beat_lock_s is None else "alive"
    evicts = f"; DROPS KEYS ({broker.evicts})" if broker.evicts else ""
    return (
        f"broker: queued {', '.join(map(_queue, broker.queues))}; {broker.unacked} taken and not finished;"
        f" workers {', '.join(broker.workers) or 'none'}; beat {beat}{evicts}"
    )


def _queue(queue: QueueHealth) -> str:
    age = "" if queue.oldest_s is None else f" (oldest {queue.oldest_s:.0f} s)"
    return f"{queue.queue} {queue.messages}{age}"
