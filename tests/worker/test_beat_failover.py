"""Two real beats on a real broker: when the active one is killed, the other rings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from tests.ops.processes import running, until
from worker.schedule import queue_of

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S = 30.0
ATTENTION = queue_of("attention")


def test_when_the_active_beat_is_killed_the_other_rings(tmp_path: Path, broker_url: str) -> None:
    variables = {"ACTIVITY_BROKER_URL": broker_url, "ACTIVITY_ATTENTION_PERIOD_S": "1"}
    first, second = tmp_path / "first", tmp_path / "second"
    with redis.Redis.from_url(broker_url) as client, running(first, variables, "beat") as active:
        until(lambda: client.llen(ATTENTION) > 3, "the first beat rings")
        with running(second, variables, "beat"):
            until(lambda: "beat: Starting" in second.read_text(), "the second beat waits")
            assert "Acquired lock" not in second.read_text()
            active.kill()
            active.wait()
            rung = client.llen(ATTENTION)
            took_s = until(lambda: client.llen(ATTENTION) > rung, "the second beat rings", PATIENCE_S)
            print(f"another beat rang {took_s:.1f} s after the active one was killed")  # noqa: T201  # a measurement
            assert "Acquired lock" in second.read_text()
