"""One request to a webhook: to the address that was checked, in time, no redirects, and little of the answer read."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from threading import Timer
from typing import TYPE_CHECKING, Final

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.webhooks.addresses import Target

#: Of each step, and of all of them together, seconds.
_STEP_S: Final = 10.0
TOTAL_S: Final = 20
_READ_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a request: the status, or in `error` the reason why there is none."""

    status: int | None
    error: str = ""

    @property
    def is_delivered(self) -> bool:
        """Tell whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004  # HTTP's own

    @property
    def is_gone(self) -> bool:
        """Tell whether the receiver wants no more (410)."""
        return self.status == 410  # noqa: PLR2004  # HTTP's own

    def words(self) -> str:
        """Return what happened, without anything that the receiver has written."""
        return self.error or f"the receiver answered {self.status}"


def send(
    target: Target,
    payload: bytes,
    headers: Mapping[str, str],
    trusted: ssl.SSLContext | None = None,
    *,
    total_s: float = TOTAL_S,
) -> Outcome:
    """POST `payload` and return how that ended, after `total_s` seconds at the latest.

    `trusted` stands in for the system's certificates.
    """
    connection = _connection(target, trusted)
    watchdog = Timer(total_s, _hang_up, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        return _exchange(connection, target, payload, headers)
    except (HTTPError, OSError, ValueError) as ex:
        return Outcome(None, f"no answer: {type(ex).__name__}")
    finally:
        watchdog.cancel()
        connection.close()


def _exchange(connection: HTTPConnection, target: Target, payload: bytes, headers: Mapping[str, str]) -> Outcome:
    default = {"https": 443, "http": 80}[target.scheme]
    name = f"[{target.host}]" if ":" in target.host else target.host
    host = name if target.port == default else f"{name}:{target.port}"
    connection.request("POST", target.path, payload, {**headers, "host": host}, preload_content=False)
    response = connection.getresponse()
    response.read(_READ_BYTES, decode_content=False)
    return Outcome(response.status)


def _connection(target: Target, trusted: ssl.SSLContext | None) -> HTTPConnection:
    if target.scheme == "http":
        return HTTPConnection(target.address, target.port, timeout=_STEP_S)
    return HTTPSConnection(
        target.address,
        target.port,
        timeout=_STEP_S,
        ssl_context=trusted or ssl.create_default_context(),
        server_hostname=target.host,
        assert_hostname=target.host,
    )


def _hang_up(connection: HTTPConnection) -> None:
    """End a request that takes too long although each of its steps is in time."""
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)
