"""The port that a server is to listen on: whether it is free, and that it stays ours while the server is away."""

from __future__ import annotations

import contextlib
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Iterator


def check(host: str, port: int) -> None:
    """Raise ActivityError unless the port can be listened on; asked first, since several servers may share a port."""
    try:
        with socket.create_server((host, port), family=_family(host)):
            return
    except OSError as ex:
        raise ActivityError(
            f"port {port} on {host}: cannot be listened on ({ex.strerror}); choose another with --port"
        ) from ex


@contextmanager
def held(host: str, port: int) -> Iterator[None]:
    """Keep everybody else's `check` from passing, whether or not our own server listens just now.

    It shares the port with servers of the same user that ask for sharing, as granian does; it never listens itself.
    Raises ActivityError when the port is taken.
    """
    check(host, port)
    with socket.socket(_family(host)) as holder:
        # Connections of a server before us may linger for a minute: they bar a holder, and not a server.
        with contextlib.suppress(OSError):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind((host, port))
        yield


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
