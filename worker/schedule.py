"""The beat schedule: which doorbell rings when. Beat holds no logic; every ring may be lost or doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from snapshots.signals import SIGNALS
from worker.engine.shards import shards

if TYPE_CHECKING:
    from snapshots.settings import Settings
    from worker.engine.shards import Shard

REFRESH: Final = "signals.refresh"
RECONCILE: Final = "signals.reconcile"
PRUNE: Final = "signals.prune"
RECOMPUTE: Final = "signals.recompute"
TAKE_UP: Final = "signals.take_up"
NOTIFY: Final = "signals.notify"

#: Seconds between looks for requests whose message was lost.
TAKE_UP_PERIOD_S: Final = 60

#: A queue for housekeeping, another for what operators ask, and one for each signal (`queue_of`). A worker takes from
#: each in turn, so that no signal's messages stand before another's.
SCHEDULED_QUEUE: Final = "signals"
MANUAL_QUEUE: Final = "manual"


def queue_of(signal: str) -> str:
    """Return the queue of the scheduled refreshes of `signal`."""
    return f"{SCHEDULED_QUEUE}.{signal}"


QUEUES: Final = (SCHEDULED_QUEUE, MANUAL_QUEUE, *(queue_of(name) for name in SIGNALS))


class Entry(TypedDict):
    """One entry of Celery's beat schedule; `schedule` and `options["expires"]` in seconds."""

    task: str
    schedule: float
    args: list[str | int]
    options: dict[str, float]


def _entry(task: str, period_s: int, *args: str | int) -> Entry:
    """Return an entry whose message expires before the next one is sent."""
    return {"task": task, "schedule": float(period_s), "args": list(args), "options": {"expires": period_s * 0.9}}


def beat_schedule(settings: Settings) -> dict[str, Entry]:
    """Return the schedule by entry name: a refresh and a reconcile per signal and shard, and the housekeeping."""
    schedule = {
        "prune": _entry(PRUNE, settings.prune_period_s),
        "take-up": _entry(TAKE_UP, TAKE_UP_PERIOD_S),
        "notify": _entry(NOTIFY, settings.notify_period_s),
    }
    for name in SIGNALS:
        for shard in shards(settings.shards):
            rung = (name, shard.number, shard.count)
            schedule[f"refresh-{_label(name, shard)}"] = _entry(REFRESH, settings.period_s(name), *rung)
            schedule[f"reconcile-{_label(name, shard)}"] = _entry(RECONCILE, settings.reconcile_period_s, *rung)
    return schedule


def _label(signal: str, shard: Shard) -> str:
    """Return the name of a shard's entry; that of the only shard is the signal's."""
    return signal if shard.count == 1 else f"{signal}-{shard.number}-of-{shard.count}"
