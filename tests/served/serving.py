"""The read layer as it runs for real: `activity api` as a child process, with several processes of its own."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.local import children
from snapshots.signals import AUTHENTICATOR_ROLE, READER_ROLE, TRIAGE_ROLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psutil

    from tests.postgres import Server

ROOT: Final = Path(__file__).parents[2]
HOST: Final = "127.0.0.1"
PROCESSES: Final = 2
PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.05
_OK: Final = 200
_UNLIMITED: Final = "10000000"


@dataclass
class Served:
    """A running `activity api`: its port, its own process, and where its output goes."""

    port: int
    process: psutil.Popen
    log_file: Path

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://{HOST}:{self.port}"

    def log(self) -> str:
        """Return what it has written to its output and its errors so far."""
        return self.log_file.read_text(errors="replace")

    def pids(self) -> list[int]:
        """Return the processes that answer, ascending."""
        family = self.process.children(recursive=True)
        return sorted(each.pid for each in family if "resource_tracker" not in " ".join(each.cmdline()))

    def get(self, path: str, token: str | None = None, timeout_s: float = 10.0) -> tuple[int, bytes]:
        """Ask on a connection of its own, and return the status and the body."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path, headers={} if token is None else {"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Ask whether it serves."""
        try:
            return self.get("/readyz")[0] == _OK
        except (OSError, http.client.HTTPException):
            return False


@contextmanager
def serving(server: Server, database: str, folder: Path, **settings: object) -> Iterator[Served]:
    """Run `activity api` over `database`, as logins of the two roles; all of its processes are gone afterwards.

    `settings` are its own, by name; its limits are out of the way unless they say otherwise. It keeps its output in a
    folder of its own in `folder`, and must leave nothing else there.
    """
    port = free_port()
    own = Path(tempfile.mkdtemp(dir=folder, prefix="api-"))
    variables = environment(server, database, {"api_port": port, **settings}) | {"TMPDIR": str(own)}
    command = [sys.executable, "-m", "ops.cli", "api"]
    process = children.spawn(command, own / "output", env=variables, cwd=ROOT)
    served = Served(port, process, own / "output")
    try:
        until(served.is_ready, "ready", lambda: _check_alive(served))
        yield served
    finally:
        end(served)


def end(served: Served) -> None:
    """End it as an operator would, and fail if a process or a file of it is left behind; once is enough."""
    if children.has_ended(served.process):
        return
    family = [served.process, *served.process.children(recursive=True)]
    stubborn = children.end([served.process])
    left = [each for each in family[1:] if not children.has_ended(each)]
    children.end(family)
    assert (stubborn, left) == ([], [])
    assert list(served.log_file.parent.iterdir()) == [served.log_file]


def until(condition: Callable[[], bool], what: str, check: Callable[[], None] = lambda: None) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        check()
        assert time.monotonic() < deadline, f"not in {PATIENCE_S:.0f} s: {what}"
        time.sleep(_POLL_S)


def _check_alive(served: Served) -> None:
    assert served.process.poll() is None, served.log()


def environment(server: Server, database: str, settings: Mapping[str, object]) -> dict[str, str]:
    """Return what `activity api` is given: its own `settings`, by name, and nothing else of ours."""
    usual: dict[str, object] = {
        "reader_database_url": server.url_as(READER_ROLE, database),
        "auth_database_url": server.url_as(AUTHENTICATOR_ROLE, database),
        "triage_database_url": server.url_as(TRIAGE_ROLE, database),
        "api_processes": PROCESSES,
        "rate_limit_live": _UNLIMITED,
        "rate_limit_logins": _UNLIMITED,
        "rate_limit_snapshots": _UNLIMITED,
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251  # the child's own
    return inherited | {f"ACTIVITY_{name.upper()}": str(value) for name, value in {**usual, **settings}.items()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
