"""The Celery application, built from settings: what a message may do, and how long, and to whom it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery, signals
from kombu import Queue

from snapshots.errors import SettingsError
from snapshots.signals import SIGNALS
from worker import tasks
from worker.process import process_settings
from worker.schedule import MANUAL_QUEUE, RECOMPUTE, SCHEDULED_QUEUE, beat_schedule
from worker.shards import shards

if TYPE_CHECKING:
    from snapshots.settings import Settings

#: Seconds between beat's looks at its schedule, and the age at which its lock passes to another beat:
#: a lost beat is replaced within the two together.
BEAT_LOOP_S = 2
BEAT_LOCK_S = 8


def create_app(settings: Settings) -> Celery:
    """Return the application for `settings`.

    Raises SettingsError when there is no broker to speak to.
    """
    if settings.broker_url is None:
        raise SettingsError("ACTIVITY_BROKER_URL: not set; expected a URL like redis://:password@host:6379/0")
    app = Celery("activity", broker=settings.broker_url.get_secret_value(), set_as_current=True)
    app.conf.update({**_messages(), **_time_limits(settings), **_worker(settings), **_beat(settings)})
    return app


def _messages() -> dict[str, Any]:
    """JSON only, two declared queues, and a message that is lost with its worker is delivered again."""
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_queues": [Queue(SCHEDULED_QUEUE), Queue(MANUAL_QUEUE)],
        "task_default_queue": SCHEDULED_QUEUE,
        "task_routes": {RECOMPUTE: {"queue": MANUAL_QUEUE}},
        "task_create_missing_queues": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        "enable_utc": True,
        "timezone": "UTC",
    }


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
        },
    }


def _worker(settings: Settings) -> dict[str, Any]:
    return {
        "worker_concurrency": settings.worker_concurrency,
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_max_tasks_per_child": 1000,
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


@signals.worker_ready.connect
def _ring_once(**_: object) -> None:
    """Refresh each signal when a worker comes up, instead of one period later; a doubled ring is coalesced."""
    for name in SIGNALS:
        for shard in shards(process_settings().shards):
            tasks.refresh.apply_async(args=(name, shard.number, shard.count), expires=60)


@signals.setup_logging.connect
def _leave_logging_alone(**_: object) -> None:
    """Keep the logging that the process was started with: a connected handler makes Celery install none."""
