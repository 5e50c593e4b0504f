"""`activity up` as a child of a test."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from ops.local import children

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ROOT: Final = Path(__file__).parents[2]
READY_S: Final = 300.0
STOPPED_S: Final = 120.0


class Up:
    """One `activity up` in a folder of its own."""

    def __init__(self, folder: Path, port: int, *options: str, env: Mapping[str, str] | None = None) -> None:
        """Start it; without `env` it has the environment of the tests."""
        self.folder, self.port = folder, port
        self.ready_file = folder.with_name(f"{folder.name}-ready.json")
        self.output = folder.with_name(f"{folder.name}-output")
        arguments = ["--port", str(port), "--data-dir", str(folder), "--ready-file", str(self.ready_file), *options]
        with self.output.open("ab") as output:
            command = [sys.executable, "-m", "ops.cli", "up", *arguments]
            self.process = subprocess.Popen(command, cwd=_ROOT, env=env, stdout=output, stderr=output)

    def ready(self) -> dict[str, Any]:
        """Wait until it is ready, and return what it wrote."""
        self.until(self.ready_file.exists, READY_S)
        answer: dict[str, Any] = json.loads(self.ready_file.read_text())
        return answer

    def until(self, condition: Callable[[], bool], patience_s: float) -> None:
        """Wait for `condition`; fail with the output when it does not come or the process ends."""
        deadline = time.monotonic() + patience_s
        while not condition():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOPPED_S)

    def kill(self) -> None:
        """Kill it without a chance to clean up."""
        self.process.kill()
        self.process.wait(STOPPED_S)

    def processes(self) -> list[psutil.Process]:
        """Return what runs of it, found by environment, arguments and working directory."""
        found = children.of_instance(str(self.folder))
        for process in psutil.process_iter():
            try:
                mentions = any(str(self.folder) in word for word in process.cmdline())
                works_inside = Path(process.cwd()).is_relative_to(self.folder)
            except (psutil.Error, OSError):
                continue
            found += [process] if mentions or works_inside else []
        return found


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
