"""Beat schedule, and the handling of messages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from celery.backends.base import DisabledBackend

from ops.commands.worker import QUIET
from snapshots import settings
from snapshots.errors import SettingsError
from snapshots.signals import SIGNALS
from worker.app import BEAT_LOCK_S, BEAT_LOOP_S, create_app
from worker.schedule import (
    MANUAL_QUEUE,
    NOTIFY,
    PRUNE,
    QUEUES,
    RECOMPUTE,
    RECONCILE,
    REFRESH,
    SCHEDULED_QUEUE,
    TAKE_UP,
    beat_schedule,
    queue_of,
)
from worker.tasks import RETRY

ROOT = Path(__file__).parents[2]

SETTINGS = settings.load(broker_url="redis://127.0.0.1:1/0")


def test_every_entry_of_the_schedule_is_a_registered_task() -> None:
    app = create_app(SETTINGS)

    assert {entry["task"] for entry in beat_schedule(SETTINGS).values()} <= set(app.tasks)


@pytest.mark.parametrize("signal", SIGNALS)
def test_each_signal_has_a_queue_that_workers_serve(signal: str) -> None:
    app = create_app(SETTINGS)

    queues = {
        app.amqp.router.route({}, task, args)["queue"].name
        for task, args in ((REFRESH, (signal, 0, 1)), (RECONCILE, (signal, 0, 1)))
    }

    assert queues == {queue_of(signal)} <= set(QUEUES)
    assert set(app.amqp.queues) == set(QUEUES)


def test_housekeeping_and_requests_have_queues_of_their_own() -> None:
    route = create_app(SETTINGS).amqp.router.route

    assert {route({}, task, ())["queue"].name for task in (PRUNE, TAKE_UP, NOTIFY)} == {SCHEDULED_QUEUE}
    assert route({}, RECOMPUTE, (1,))["queue"].name == MANUAL_QUEUE


def test_a_message_expires_before_the_next_one_is_sent() -> None:
    for entry in beat_schedule(SETTINGS).values():
        assert entry["options"]["expires"] < entry["schedule"]


def test_every_signal_is_refreshed_and_reconciled() -> None:
    names = set(beat_schedule(SETTINGS))

    assert {f"refresh-{name}" for name in SIGNALS} | {f"reconcile-{name}" for name in SIGNALS} <= names


def test_the_time_limits_nest() -> None:
    conf = create_app(SETTINGS).conf

    limits = [SETTINGS.refresh_timeout_s, conf.task_soft_time_limit, conf.task_time_limit]
    limits.append(conf.broker_transport_options["visibility_timeout"])
    assert limits == sorted(set(limits))


@pytest.mark.parametrize("refresh_timeout_s", [1, 240, 1200])
def test_the_time_limits_nest_whatever_the_first_one_is(refresh_timeout_s: int) -> None:
    current = settings.load(broker_url="redis://127.0.0.1:1/0", refresh_timeout_s=refresh_timeout_s)

    conf = create_app(current).conf

    limits = [current.refresh_timeout_s, conf.task_soft_time_limit, conf.task_time_limit]
    limits.append(conf.broker_transport_options["visibility_timeout"])
    assert limits == sorted(set(limits))
    # A countdown of a retry that outlasted the visibility timeout would be delivered twice.
    assert RETRY["retry_backoff_max"] < conf.broker_transport_options["visibility_timeout"]


def test_a_connection_that_hangs_is_noticed() -> None:
    conf = create_app(SETTINGS).conf

    for options in (conf.broker_transport_options, conf.redbeat_redis_options):
        assert 0 < options["socket_connect_timeout"] <= options["socket_timeout"] <= 30
        assert 0 < options["health_check_interval"] <= 10
    assert conf.broker_transport_options["socket_keepalive"] is True
    assert conf.broker_transport_options["retry_on_timeout"] is True
    assert conf.broker_connection_retry_on_startup is True


def test_a_worker_takes_what_it_works_on_and_nothing_more() -> None:
    conf = create_app(SETTINGS).conf

    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_acks_late is True
    assert conf.task_reject_on_worker_lost is True


def test_a_worker_process_is_replaced_after_many_tasks_or_much_memory() -> None:
    conf = create_app(settings.load(broker_url="redis://127.0.0.1:1/0", worker_max_memory_mb=256)).conf

    assert conf.worker_max_tasks_per_child == 1000
    assert conf.worker_max_memory_per_child == 256 * 1024  # kB


def test_a_lost_connection_ends_no_refresh_and_a_shutdown_waits_for_seconds() -> None:
    conf = create_app(SETTINGS).conf

    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert 0 < conf.worker_soft_shutdown_timeout < 20  # what supervisors wait for before they kill


def test_logging_is_ours_and_results_are_nobodys() -> None:
    app = create_app(SETTINGS)

    assert app.conf.worker_hijack_root_logger is False
    assert app.conf.task_ignore_result is True
    assert app.conf.task_store_errors_even_if_ignored is False
    assert isinstance(app.backend, DisabledBackend)


def test_workers_answer_pings_and_do_not_talk_among_themselves() -> None:
    assert create_app(SETTINGS).conf.worker_enable_remote_control is True
    assert {"--without-gossip", "--without-mingle", "--without-heartbeat"} <= set(QUIET)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CELERY_BROKER_URL", "redis://elsewhere:6379/0"),
        ("CELERY_BROKER_READ_URL", "redis://elsewhere:6379/0"),
        ("CELERY_BROKER_WRITE_URL", "redis://elsewhere:6379/0"),
        ("CELERY_RESULT_BACKEND", "redis://elsewhere:6379/1"),
    ],
)
def test_a_variable_of_a_hosts_celery_does_not_send_our_messages_elsewhere(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=f"^{variable}: set"):
        create_app(SETTINGS)


def test_beats_lock_is_one_of_seconds() -> None:
    conf = create_app(SETTINGS).conf

    assert (conf.redbeat_lock_timeout, conf.beat_max_loop_interval) == (BEAT_LOCK_S, BEAT_LOOP_S)
    assert BEAT_LOOP_S < BEAT_LOCK_S / 2  # renewed well before it ends


def test_a_parent_of_worker_processes_has_opened_no_database() -> None:
    """A connection that two processes share after a fork is read by both."""
    loaded = (
        "from snapshots import settings; from worker.app import create_app; from worker import process\n"
        "create_app(settings.load(broker_url='redis://127.0.0.1:1/0')).loader.import_default_modules()\n"
        "print(process.process_engine.cache_info().currsize)"
    )

    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "0"


def test_messages_are_json_to_declared_queues_and_acknowledged_late() -> None:
    conf = create_app(SETTINGS).conf

    assert conf.accept_content == ["json"]
    assert {queue.name for queue in conf.task_queues} == {
        "signals",
        "manual",
        "signals.patterns",
        "signals.cost",
        "signals.attention",
    }
    assert conf.task_create_missing_queues is False
    assert conf.task_acks_late is True


def test_another_beat_takes_over_within_fifteen_seconds() -> None:
    assert BEAT_LOCK_S + BEAT_LOOP_S < 15


def test_without_a_broker_the_application_names_the_variable() -> None:
    with pytest.raises(SettingsError, match="ACTIVITY_BROKER_URL"):
        create_app(settings.load())
