"""HTTP servers under load: started in a process group of their own, asked, weighed, and ended for certain."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.local import children
from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import psutil

_ROOT: Final = Path(__file__).parents[1]
_HOST: Final = "127.0.0.1"
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.05
_BYTES_PER_MB: Final = 2**20
#: Nothing of the caller's own installation reaches the servers.
_WITHHELD: Final = ("ACTIVITY_", "GRANIAN_")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, its headers by their names in lower case, and its body as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: its port, its first process, and where its output goes."""

    port: int
    process: psutil.Popen
    log_file: Path

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer to one GET. Raises OSError or http.client.HTTPException when there is none."""
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=_PATIENCE_S)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()

    def forget_log(self) -> None:
        """Empty the log, which the access log makes long; it is open for appending."""
        os.truncate(self.log_file, 0)

    def memory_mb(self) -> dict[str, list[float]]:
        """Return the resident and the proportional set size of each process that serves, MB."""
        sizes = [process.memory_full_info() for process in self.process.children() if _serves(process)]
        return {
            "rss": [size.rss / _BYTES_PER_MB for size in sizes],
            "pss": [size.pss / _BYTES_PER_MB for size in sizes],
        }


def _serves(process: psutil.Process) -> bool:
    """Tell a server's worker from the helper that multiprocessing may start beside it."""
    return not any("resource_tracker" in word for word in process.cmdline())


@contextmanager
def serving(name: str, module: Sequence[str], variables: Mapping[str, str], folder: Path) -> Iterator[Server]:
    """Yield a server that `python -m MODULE... --port N` runs, once it takes connections; end it and all it started.

    `variables` are all that it sees of our settings. Raises ActivityError when it ends or does not answer in time.
    """
    port, log_file = _free_port(), folder / f"{name}.log"
    command = [sys.executable, "-m", *module, "--port", str(port)]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_WITHHELD)}  # noqa: TID251  # handed on
    process = children.spawn(command, log_file, env={**inherited, **variables}, cwd=_ROOT)
    try:
        server = Server(port, process, log_file)
        _wait_until_it_answers(server)
        yield server
    finally:
        children.end([process])
        children.end_group(process.pid)


def _wait_until_it_answers(server: Server) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not _answers(server):
        if children.has_ended(server.process) or time.monotonic() > deadline:
            last = server.log_file.read_text(errors="replace")[-500:].strip()
            raise ActivityError(f"{server.log_file.stem}: does not serve; its log ends: {last}")
        time.sleep(_POLL_S)


def _answers(server: Server) -> bool:
    """Tell whether any answer comes, be it that there is nothing at this path."""
    try:
        return server.get("/").status > 0
    except (OSError, http.client.HTTPException):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
