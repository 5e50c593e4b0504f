"""Celery tasks: thin shells, each names a plain function's arguments and nothing more."""

from __future__ import annotations

import logging
from typing import Final, TypedDict

from celery import Task, shared_task

from snapshots.signals import check_signal
from worker.engine import refresh as engine
from worker.engine.errors import LockTimeoutError
from worker.engine.shards import Shard
from worker.housekeeping import rescue, retention
from worker.process import process_engine, process_settings
from worker.schedule import NOTIFY, PRUNE, RECOMPUTE, RECONCILE, REFRESH, TAKE_UP, TAKE_UP_PERIOD_S
from worker.webhooks import deliver as notifier

_log = logging.getLogger(__name__)


class Retries(TypedDict):
    """Retry policy of a failed refresh; seconds."""

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


@shared_task(name=REFRESH, bind=True, **RETRY)
def refresh(self: Task[[str, int, int], None], signal: str, shard: int = 0, shards: int = 1) -> None:
    """Refresh one signal for every tenant of a shard, unless a refresh of it is under way.

    One that meets a lock of somebody else's is tried again, until its message expires.
    """
    try:
        engine.refresh(process_engine(), check_signal(signal), process_settings(), shard=Shard(shard, shards))
    except LockTimeoutError as ex:
        raise self.retry(exc=ex, countdown=engine.BLOCKED_AGAIN_S) from ex


@shared_task(name=RECONCILE, **RETRY)
def reconcile(signal: str, shard: int = 0, shards: int = 1) -> None:
    """Compare one signal of a shard with a full recompute."""
    try:
        engine.refresh(
            process_engine(), check_signal(signal), process_settings(), shard=Shard(shard, shards), mode="reconcile"
        )
    except engine.PutBackError as ex:
        _put_back(ex)


@shared_task(name=RECOMPUTE, bind=True, **RETRY)
def recompute(self: Task[[int], None], refresh_id: int) -> None:
    """Run the refresh that a row of the ledger asks for."""
    will_retry = self.request.retries < (self.max_retries or 0)
    try:
        engine.refresh_requested(process_engine(), refresh_id, process_settings(), will_retry=will_retry)
    except engine.PutBackError as ex:
        _put_back(ex)


def _put_back(reason: engine.PutBackError) -> None:
    """Have a request that met a lock be tried again later; no process waits meanwhile."""
    _log.warning("%s", reason)
    recompute.apply_async(args=(reason.refresh_id,), countdown=reason.again_s)


@shared_task(name=PRUNE, **RETRY)
def prune() -> None:
    """Remove what retention no longer keeps."""
    retention.prune(process_engine(), process_settings())


@shared_task(name=TAKE_UP, bind=True)
def take_up(self: Task[[], None]) -> None:
    """Run one request whose message was lost, and ring for the next one."""
    if rescue.take_up(process_engine(), process_settings()):
        self.apply_async(expires=TAKE_UP_PERIOD_S)


@shared_task(name=NOTIFY, **RETRY)
def notify() -> None:
    """Tell webhooks what has changed."""
    notifier.notify(process_engine(), process_settings())
