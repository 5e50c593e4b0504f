"""What beat rings, and what a message may do."""

from __future__ import annotations

import pytest

from snapshots import settings
from snapshots.errors import SettingsError
from snapshots.signals import SIGNALS
from worker.app import BEAT_LOCK_S, BEAT_LOOP_S, create_app
from worker.schedule import beat_schedule

SETTINGS = settings.load(broker_url="redis://127.0.0.1:1/0")


def test_every_entry_of_the_schedule_is_a_registered_task() -> None:
    app = create_app(SETTINGS)

    assert {entry["task"] for entry in beat_schedule(SETTINGS).values()} <= set(app.tasks)


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


def test_messages_are_json_to_declared_queues_and_acknowledged_late() -> None:
    conf = create_app(SETTINGS).conf

    assert conf.accept_content == ["json"]
    assert {queue.name for queue in conf.task_queues} == {"signals", "manual"}
    assert conf.task_create_missing_queues is False
    assert conf.task_acks_late is True


def test_another_beat_takes_over_within_fifteen_seconds() -> None:
    assert BEAT_LOCK_S + BEAT_LOOP_S < 15


def test_without_a_broker_the_application_names_the_variable() -> None:
    with pytest.raises(SettingsError, match="ACTIVITY_BROKER_URL"):
        create_app(settings.load())
