"""Celery tasks: thin shells, each names a plain function's arguments and nothing more."""

from __future__ import annotations

from typing import Final, TypedDict

from celery import Task, shared_task

from snapshots.signals import check_signal
from worker import notify as notifier
from worker import overdue, retention
from worker import refresh as engine
from worker.process import process_engine, process_settings
from worker.schedule import NOTIFY, PRUNE, RECOMPUTE, RECONCILE, REFRESH, TAKE_UP, TAKE_UP_PERIOD_S
from worker.shards import Shard


class Retries(TypedDict):
    """How a failed attempt is repeated; seconds."""

    autoretry_for: tuple[type[Exception], ...]
    max_retries: int
    retry_backoff: int
    retry_backoff_max: int
    retry_jitter: bool


#: With exponential backoff and jitter, so that a database that comes back is not met by all workers at once.
RETRY: Final[Retries] = {
    "autoretry_for": engine.RETRYABLE,
    "max_retries": 3,
    "retry_backoff": 2,
    "retry_backoff_max": 60,
    "retry_jitter": True,
}


@shared_task(name=REFRESH, **RETRY)
def refresh(signal: str, shard: int = 0, shards: int = 1) -> None:
    """Refresh one signal for every tenant of a shard, unless a refresh of it is under way."""
    engine.refresh(process_engine(), check_signal(signal), process_settings(), shard=Shard(shard, shards))


@shared_task(name=RECONCILE, **RETRY)
def reconcile(signal: str, shard: int = 0, shards: int = 1) -> None:
    """Compare one signal of a shard with a full recompute, after the refresh that is under way."""
    engine.refresh(
        process_engine(), check_signal(signal), process_settings(), shard=Shard(shard, shards), mode="reconcile"
    )


@shared_task(name=RECOMPUTE, bind=True, **RETRY)
def recompute(self: Task[[int], None], refresh_id: int) -> None:
    """Run the refresh that an operator asked for in the ledger."""
    will_retry = self.request.retries < (self.max_retries or 0)
    engine.refresh_requested(process_engine(), refresh_id, process_settings(), will_retry=will_retry)


@shared_task(name=PRUNE, **RETRY)
def prune() -> None:
    """Remove what retention no longer keeps."""
    retention.prune(process_engine(), process_settings())


@shared_task(name=TAKE_UP, bind=True)
def take_up(self: Task[[], None]) -> None:
    """Run one request whose message was lost, and ring for the next one."""
    if overdue.take_up(process_engine(), process_settings()):
        self.apply_async(expires=TAKE_UP_PERIOD_S)


@shared_task(name=NOTIFY, **RETRY)
def notify() -> None:
    """Tell webhooks what has changed."""
    notifier.notify(process_engine(), process_settings())
