"""A document from a URL of the settings, fetched within a time and a size that hold for all of it.

A socket's own timeout holds for each read: who sends a byte now and then keeps its reader for as long as he likes, be
it in the headers. Here every read, whatever it is of, takes from what the fetch may take together.
"""

from __future__ import annotations

import io
import urllib.request
from base64 import b64encode
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from http.client import HTTPMessage
    from typing import IO

#: Seconds that connecting, and a server between two bytes, may take.
SILENCE_S: Final = 3.0
#: Seconds that a fetch may take in all, its redirects included.
FETCH_S: Final = 10.0
MAX_BYTES: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 1 << 16


class Document:
    """Document at an https URL, or http on loopback; its userinfo goes into a header and stays out of logs."""

    def __init__(self, url: str, timer: Callable[[], float]) -> None:
        """Take the URL, and the timer of the fetches, seconds."""
        parts = urlsplit(url)
        stripped = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        self.name = stripped._replace(query="", fragment="").geturl()
        self._request = urllib.request.Request(stripped.geturl(), headers=_headers(parts))  # noqa: S310  # settings.py allows https, and http on loopback
        self._allowance = _Allowance(timer)
        # A proxy would look for the loopback address on its own machine.
        direct = [urllib.request.ProxyHandler({})] if parts.scheme == "http" else []
        kinds = (_Http(self._allowance), _Https(self._allowance))
        self._opener = urllib.request.build_opener(_SameHost(), *kinds, *direct)

    def read(self) -> bytes:
        """Fetch it, one thread at a time. Raises OSError, HTTPException, and ValueError when it is too large."""
        self._allowance.begin()
        with self._opener.open(self._request, timeout=SILENCE_S) as response:
            return bounded(response)


def bounded(file: IO[bytes]) -> bytes:
    """Return all of `file`. Raises ValueError when that is more than MAX_BYTES."""
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _too_large()
    return content


class _Allowance:
    """Time and size that a fetch may still take."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self.begin()

    def begin(self) -> None:
        self._until = self._timer() + FETCH_S
        self._bytes = MAX_BYTES + _MAX_HEADER_BYTES

    def seconds(self) -> float:
        """Return how long the next step may take. Raises TimeoutError when no time is left."""
        left = self._until - self._timer()
        if left <= 0:
            msg = f"not done within {FETCH_S:.0f} s"
            raise TimeoutError(msg)
        return min(SILENCE_S, left)

    def take(self, size: int) -> None:
        """Take bytes that came. Raises ValueError when they are too many."""
        self._bytes -= size
        if self._bytes < 0:
            raise _too_large()


class _Reads(io.RawIOBase):
    """The reads of one socket."""

    def __init__(self, sock: socket.socket, allowance: _Allowance) -> None:
        # What urllib closes first is the socket: it stays open for what was made of it.
        self._raw = sock.makefile("rb", 0)
        self._socket = sock
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # a writable buffer, which Python 3.11 has no type of
        self._socket.settimeout(self._allowance.seconds())
        size = self._raw.readinto(buffer) or 0
        self._allowance.take(size)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """A response all of whose bytes are read within an allowance: status, headers and body."""

    allowance: _Allowance

    def __init__(self, sock: socket.socket, **options: Any) -> None:  # noqa: ANN401  # http.client's own
        super().__init__(sock, **options)
        unbounded, self.fp = self.fp, io.BufferedReader(_Reads(sock, self.allowance))
        unbounded.close()


class _Bounded(urllib.request.AbstractHTTPHandler):
    """Opens connections that keep within an allowance, those to a proxy and those after a redirect too."""

    def __init__(self, allowance: _Allowance) -> None:
        super().__init__()
        self._allowance = allowance
        self._response_class = type("_AllowedResponse", (_Response,), {"allowance": allowance})

    def do_open(
        self,
        http_class: Callable[..., HTTPConnection],
        req: urllib.request.Request,
        **options: Any,  # noqa: ANN401  # urllib's own
    ) -> HTTPResponse:
        def connection(host: str, **more: Any) -> HTTPConnection:  # noqa: ANN401  # http.client's own
            made = http_class(host, **{**more, "timeout": self._allowance.seconds()})
            made.response_class = self._response_class
            return made

        return super().do_open(connection, req, **options)


class _Http(_Bounded, urllib.request.HTTPHandler):
    pass


class _Https(_Bounded, urllib.request.HTTPSHandler):
    pass


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects within a host alone: what is fetched here may decide who enters."""

    def redirect_request(  # noqa: PLR0913, PLR0917  # urllib fixes the arguments
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            raise HTTPError(req.full_url, code, "redirected to another host", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"Accept": "application/jwk-set+json, application/json", "User-Agent": "activity-signals"}
    if parts.username is not None:
        userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(userinfo.encode()).decode()}"
    return headers


def _too_large() -> ValueError:
    return ValueError(f"more than {MAX_BYTES} bytes")
