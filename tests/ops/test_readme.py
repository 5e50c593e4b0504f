"""The documentation's commands, run as they are written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.ops.documents import DOCUMENTS, ROOT, commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTALLED = ROOT / ".venv" / ".installed"
READY_S = 300.0
STOP_S = 120.0

#: What `.ci/run` executes, directly or through what it calls.
RUN_BY_CI = {
    "make install",
    "make test",
    "make lint",
    "make test-full",
    'make bench ARGS="--scale s --rounds 1"',
    'make soak ARGS="--minutes 0.5"',
}


def asked_of_the_demo() -> list[str]:
    """Return the README's commands that speak to the running demo."""
    lines = commands(ROOT / "README.md")
    return lines[lines.index("make up") + 1 : lines.index(".venv/bin/activity doctor")]


def asked_of_a_database() -> list[str]:
    """Return the README's commands that end, on a database of one's own."""
    return [
        ".venv/bin/activity doctor",
        ".venv/bin/activity migrate",
        ".venv/bin/activity capture install",
        ".venv/bin/activity keys create --tenant acme --label dashboard",
    ]


#: The README's commands that run until they are stopped.
PROCESSES = [f".venv/bin/activity {name}" for name in ("worker", "beat", "api", "receive")]
#: Documents whose commands are run one after the other on a database of one's own.
TELEMETRY = [ROOT / "docs" / f"{name}.md" for name in ("opentelemetry", "langfuse", "phoenix")]


def asked_about_telemetry(document: Path) -> list[str]:
    """Return the commands of a document on telemetry that end."""
    return [line for line in commands(document) if line not in PROCESSES]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_the_documentation_is_executed(document: Path) -> None:
    executed = RUN_BY_CI | {"make up"} | {*asked_of_the_demo(), *asked_of_a_database(), *PROCESSES}
    executed |= {line for each in TELEMETRY for line in asked_about_telemetry(each)}

    assert set(commands(document)) <= executed


def test_ci_runs_what_we_say_it_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    by_make_test = {"make install", "make lint"}

    assert {command for command in RUN_BY_CI if command not in script} <= by_make_test


@pytest.fixture(scope="module")
def demo(private_folder: Path) -> Iterator[Path]:
    """Yield a folder in which `make up` has put its data, as a newcomer's checkout would have it."""
    if not INSTALLED.exists():
        pytest.skip(".venv was not built by `make install`")
    checkout = private_folder / "checkout"
    checkout.mkdir()
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    ready = checkout / "ready.json"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = f'ARGS=--port {port} --data-dir "{checkout / ".activity"}" --ready-file "{ready}"'
    process = subprocess.Popen(["make", "up", arguments], cwd=ROOT, start_new_session=True)  # noqa: S607  # the newcomer's make
    deadline = time.monotonic() + READY_S
    while not ready.exists():
        assert process.poll() is None, "make up ended"
        assert time.monotonic() < deadline, "make up is not ready"
        time.sleep(0.1)
    yield checkout
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(STOP_S)
    shutil.rmtree(checkout, ignore_errors=True)


#: What each endpoint of the README must show of the demo, by the beginning of its path.
SHOWN: Final = {
    "patterns": "patterns",
    "cost-analysis": "agents",
    "attention-queue": "queue",
    "summary/by-status": "summary",
    "runs/by-dimension": "buckets",
    "runs?": "items",
}


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one documented line in the environment that the README has the newcomer source."""
    script = f"set -e; [ ! -e .activity/environment ] || . .activity/environment; {line}"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S607  # the newcomer's shell


@pytest.mark.parametrize("line", asked_of_the_demo())
def test_a_command_of_the_readme_works_on_the_running_demo(demo: Path, line: str) -> None:
    done = shell(line, demo)

    assert done.returncode == 0, done.stderr
    if line.startswith("curl"):
        body = json.loads(done.stdout)
        assert body[next(member for path, member in SHOWN.items() if f"/activity/{path}" in line)], body
    elif not line.startswith("."):
        assert done.stdout


def test_the_readme_sets_up_a_database_of_ones_own(
    empty_database: str, valkey_url: str, private_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not INSTALLED.exists():
        pytest.skip(".venv was not built by `make install`")
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", empty_database)
    monkeypatch.setenv("ACTIVITY_BROKER_URL", valkey_url)
    folder = private_folder / "own"
    folder.mkdir()
    (folder / ".venv").symlink_to(ROOT / ".venv")

    for line in asked_of_a_database():
        done = shell(line, folder)
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("act_")


@pytest.mark.parametrize("document", TELEMETRY, ids=lambda path: path.stem)
def test_the_commands_on_telemetry_work(
    fresh_database: str, private_folder: Path, monkeypatch: pytest.MonkeyPatch, document: Path
) -> None:
    if not INSTALLED.exists():
        pytest.skip(".venv was not built by `make install`")
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    folder = private_folder / document.stem
    folder.mkdir()
    for name in (".venv", "tests"):
        (folder / name).symlink_to(ROOT / name)

    for line in asked_about_telemetry(document):
        done = shell(line, folder)
        assert done.returncode == 0, done.stderr
