"""Exit codes of long-running commands: 0 after a signal, else not 0 with one line that gives the reason."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import redis

from tests.ops.processes import ROOT, free_port, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import psutil

PATIENCE_S = 90
#: A user namespace makes the mount possible where this is not root.
UNSHARE = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
READ_ONLY = 'mount -o remount,ro,bind /dev/shm && exec "$@"'


def may_remount() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = [*UNSHARE, "sh", "-c", READ_ONLY, "sh", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def variables(fresh_database: str, valkey_url: str) -> dict[str, str]:
    """Return the settings of the processes."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251  # the child's own
    return {**inherited, "ACTIVITY_DATABASE_URL": fresh_database, "ACTIVITY_BROKER_URL": valkey_url}


@contextmanager
def started(variables: Mapping[str, str], folder: Path, sign: str, *arguments: str) -> Iterator[psutil.Popen]:
    """Run `activity` with `arguments`, and yield it once its log contains `sign`."""
    log = folder / "log"
    with running(log, variables, *arguments) as process:
        until(lambda: sign in log.read_text() or process.poll() is not None, f"{sign} in the log", PATIENCE_S)
        assert process.poll() is None, log.read_text()
        yield process


@pytest.mark.skipif(not may_remount(), reason="a mount namespace is not permitted here")
def test_a_worker_without_semaphores_exits_1_and_says_why(variables: Mapping[str, str]) -> None:
    command = [*UNSHARE, "sh", "-c", READ_ONLY, "sh", sys.executable, "-m", "ops.cli", "worker"]

    ended = subprocess.run(
        command, cwd=ROOT, env=dict(variables), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )

    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.strip().splitlines()[-1] == (
        "activity: worker: ended by OSError: [Errno 30] Read-only file system; "
        "its processes share semaphores: /dev/shm must be there, writable and not full"
    )


def test_a_beat_that_loses_its_lock_exits_1_and_says_why(
    variables: Mapping[str, str], valkey_url: str, tmp_path: Path
) -> None:
    with (
        started(variables, tmp_path, "Acquired lock", "beat") as process,
        redis.Redis.from_url(valkey_url) as client,
    ):
        client.delete("activity:beat::lock")
        assert process.wait(PATIENCE_S) == 1

    lines = (tmp_path / "log").read_text().splitlines()
    assert [line[:36] for line in lines if line.startswith("activity:")] == ["activity: beat: ended by LockNotOwne"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("sign", "arguments"),
    [
        (" ready.", ["worker", "--concurrency", "1"]),
        ("Acquired lock", ["beat"]),
        ("exporter: http", ["exporter", "--port"]),
        ("Started worker", ["api", "--port"]),
        ("Started worker", ["receive", "--port"]),
    ],
    ids=["worker", "beat", "exporter", "api", "receive"],
)
def test_a_signal_is_a_clean_stop(
    variables: Mapping[str, str], tmp_path: Path, number: signal.Signals, sign: str, arguments: Sequence[str]
) -> None:
    port = [str(free_port())] if arguments[-1] == "--port" else []
    with started(variables, tmp_path, sign, *arguments, *port) as process:
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0


def test_a_worker_ends_with_0_after_the_signal_of_its_unit(variables: Mapping[str, str], tmp_path: Path) -> None:
    with started(variables, tmp_path, " ready.", "worker", "--concurrency", "1") as process:
        process.send_signal(signal.SIGQUIT)
        assert process.wait(PATIENCE_S) == 0
