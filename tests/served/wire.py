"""A client that sends bytes as they are, and takes apart what comes back."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Final

import zstandard

from tests.served.serving import HOST

if TYPE_CHECKING:
    from typing import Self

PATIENCE_S: Final = 20.0
_ODD_PATIENCE_S: Final = 3.0
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `everything` is all of it as sent, with the body without its coding."""

    status: int
    headers: dict[str, str]
    body: bytes
    everything: bytes


class Line:
    """A connection that is opened when needed, and kept between requests."""

    def __init__(self, port: int) -> None:
        """Take the port; nothing is sent yet."""
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Return the line."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._hang_up()

    def ask(self, raw: bytes, method: str) -> Reply:
        """Send a request that keeps to the protocol, and return its answer; once more where a kept connection ended."""
        is_kept = self._socket is not None
        try:
            return self._ask(raw, method)
        except (ConnectionError, HTTPException):
            self._hang_up()
            if not is_kept:
                raise
        return self._ask(raw, method)

    def _ask(self, raw: bytes, method: str) -> Reply:
        self._socket = self._socket or socket.create_connection((HOST, self._port), timeout=PATIENCE_S)
        self._socket.sendall(raw)
        with HTTPResponse(self._socket, method=method) as response:
            response.begin()
            coded = response.read()
            headers = {name.lower(): value for name, value in response.getheaders()}
            if response.will_close:
                self._hang_up()
        body = _decoded(coded, headers.get("content-encoding"))
        head = "\n".join(f"{name}: {value}" for name, value in response.getheaders()).encode("latin-1", "replace")
        return Reply(response.status, headers, body, head + b"\n\n" + body)

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def alone(port: int, raw: bytes) -> tuple[list[int], bytes]:
    """Send bytes on a connection of their own, and return the statuses and all that comes back until it ends.

    A server that is refusing may end it before it has read all; one that is owed more may keep it open.
    """
    received = bytearray()
    with (
        socket.create_connection((HOST, port), timeout=_ODD_PATIENCE_S) as connection,
        contextlib.suppress(ConnectionError, TimeoutError),
    ):
        connection.sendall(raw)
        while part := connection.recv(65_536):
            received += part
    return [int(status) for status in _STATUS.findall(received)], bytes(received)


def _decoded(body: bytes, coding: str | None) -> bytes:
    if coding == "gzip" and body:
        return gzip.decompress(body)
    if coding == "zstd" and body:
        return zstandard.ZstdDecompressor().decompress(body)
    return body
