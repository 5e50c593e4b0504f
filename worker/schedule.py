"""The beat schedule: which doorbell rings when. Beat holds no logic; every ring may be lost or doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from snapshots.signals import SIGNALS

if TYPE_CHECKING:
    from snapshots.settings import Settings

REFRESH: Final = "signals.refresh"
RECONCILE: Final = "signals.reconcile"
PRUNE: Final = "signals.prune"
RECOMPUTE: Final = "signals.recompute"

#: A queue for what beat rings, another for what operators ask, so that neither waits for the other.
SCHEDULED_QUEUE: Final = "signals"
MANUAL_QUEUE: Final = "manual"


class Entry(TypedDict):
    """One entry of Celery's beat schedule; `schedule` and `options["expires"]` in seconds."""

    task: str
    schedule: float
    args: list[str]
    options: dict[str, float]


def _entry(task: str, period_s: int, *args: str) -> Entry:
    """Return an entry whose message expires before the next one is sent."""
    return {"task": task, "schedule": float(period_s), "args": list(args), "options": {"expires": period_s * 0.9}}


def beat_schedule(settings: Settings) -> dict[str, Entry]:
    """Return the schedule by entry name: a refresh and a reconcile per signal, and the pruning."""
    refreshes = {f"refresh-{name}": _entry(REFRESH, settings.period_s(name), name) for name in SIGNALS}
    reconciles = {f"reconcile-{name}": _entry(RECONCILE, settings.reconcile_period_s, name) for name in SIGNALS}
    return {**refreshes, **reconciles, "prune": _entry(PRUNE, settings.prune_period_s)}
