"""The Celery application, built from settings: what a message may do, and how long, and to whom it goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from celery import Celery, signals
from kombu import Queue

from snapshots.errors import SettingsError
from snapshots.signals import SIGNALS
from worker import tasks
from worker.engine.shards import shards
from worker.process import process_settings
from worker.schedule import (
    MANUAL_QUEUE,
    QUEUES,
    RECOMPUTE,
    RECONCILE,
    REFRESH,
    SCHEDULED_QUEUE,
    beat_schedule,
    queue_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snapshots.settings import Settings

#: Seconds between beat's looks at its schedule, and the age at which its lock passes to another beat:
#: a lost beat is replaced within the two together.
BEAT_LOOP_S = 2
BEAT_LOCK_S = 8
#: The header that says when a message was sent, seconds since 1970: the broker keeps no such time.
SENT_AT: Final = "activity_sent_at"


def create_app(settings: Settings) -> Celery:
    """Return the application for `settings`.

    Raises SettingsError when there is no broker to speak to, or one of Celery's own variables would name another.
    """
    if settings.broker_url is None:
        raise SettingsError("ACTIVITY_BROKER_URL: not set; expected a URL like redis://:password@host:6379/0")
    url = settings.broker_url.get_secret_value()
    app = Celery("activity", broker=url, task_cls="worker.message_expiry:TimedTask", set_as_current=True)
    app.conf.update({**_messages(), **_time_limits(settings), **_worker(settings), **_beat(settings)})
    _refuse_variables(app, url)
    return app


def _refuse_variables(app: Celery, url: str) -> None:
    """Raise SettingsError where a variable of a host's Celery would send our messages, or results, elsewhere."""
    conf = app.conf
    for name, expected in (
        ("broker_url", url),
        ("broker_read_url", url),
        ("broker_write_url", url),
        ("result_backend", None),
    ):
        if getattr(conf, name) != expected:
            raise SettingsError(f"CELERY_{name.upper()}: set, and would stand before our own settings; unset it here")


def _messages() -> dict[str, Any]:
    """JSON only, declared queues, and a message that is lost with its worker is delivered again."""
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_queues": [Queue(name) for name in QUEUES],
        "task_default_queue": SCHEDULED_QUEUE,
        "task_routes": (_route,),
        "task_create_missing_queues": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        "enable_utc": True,
        "timezone": "UTC",
    }


def _route(name: str, args: Sequence[object] = (), *_: object, **__: object) -> dict[str, str] | None:
    """Return the queue of a message: manual requests have one, and the scheduled refreshes of each signal."""
    if name == RECOMPUTE:
        return {"queue": MANUAL_QUEUE}
    if name in {REFRESH, RECONCILE} and args and args[0] in SIGNALS:
        return {"queue": queue_of(str(args[0]))}
    return None


def _time_limits(settings: Settings) -> dict[str, Any]:
    """Nested: statement_timeout, then the soft limit, then the hard one, then redelivery by the broker."""
    hard_s = settings.refresh_timeout_s + 60
    return {
        "task_soft_time_limit": settings.refresh_timeout_s + 30,
        "task_time_limit": hard_s,
        "broker_transport_options": {
            "visibility_timeout": hard_s + 300,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # A publication may then be doubled, which does no harm; a lost one costs a period.
            "retry_on_timeout": True,
        },
    }


def _worker(settings: Settings) -> dict[str, Any]:
    return {
        "worker_concurrency": settings.worker_concurrency,
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        # A refresh goes on without the broker; should its message come again, the ledger says that it is over.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_max_tasks_per_child": 1000,
        "worker_max_memory_per_child": settings.worker_max_memory_mb * 1024,  # kB
        "worker_soft_shutdown_timeout": 5.0,
        "broker_connection_retry_on_startup": True,
    }


def _beat(settings: Settings) -> dict[str, Any]:
    """RedBeat: the schedule lives in Redis, and of several beats the one that holds the lock rings."""
    return {
        "beat_scheduler": "redbeat.RedBeatScheduler",
        "beat_schedule": beat_schedule(settings),
        "beat_max_loop_interval": BEAT_LOOP_S,
        "redbeat_redis_url": settings.broker_url.get_secret_value() if settings.broker_url else None,
        "redbeat_redis_options": {"socket_timeout": 30, "socket_connect_timeout": 5, "health_check_interval": 10},
        "redbeat_key_prefix": "activity:beat:",
        "redbeat_lock_timeout": BEAT_LOCK_S,
    }


@signals.before_task_publish.connect
def _note_time(headers: dict[str, Any], **_: object) -> None:
    """Write into a message when it was sent, so that its age in the queue can be told."""
    headers[SENT_AT] = time.time()


@signals.worker_ready.connect
def _ring_once(**_: object) -> None:
    """Refresh each signal when a worker comes up, instead of one period later; a doubled ring is coalesced."""
    for name in SIGNALS:
        for shard in shards(process_settings().shards):
            tasks.refresh.apply_async(args=(name, shard.number, shard.count), expires=60)


@signals.setup_logging.connect
def _leave_logging_alone(**_: object) -> None:
    """Keep the logging that the process was started with: a connected handler makes Celery install none."""
