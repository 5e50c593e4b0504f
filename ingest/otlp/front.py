"""The ASGI application in front of the WSGI one: a slow sender holds no thread for long.

A WSGI server blocks the thread that reads for as long as the sender likes. Here each wait for more of a body is
bounded, and what is left of it once the answer is known is read without a thread.
"""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ingest.otlp.answers import RefusalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.app import Application

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Headers = list[tuple[str, str]]

#: In the environment of a request: how much of its body may be read and forgotten once it is answered, bytes.
DISCARD: Final = "activity.discard"
#: So much where nobody says so: enough for the sender of a small request to see the answer.
UNKNOWN_SENDER: Final = 65_536
#: An unknown sender has so long for it, seconds.
_UNKNOWN_S: Final = 2.0


class Body:
    """The body of a request: read from a thread while the event loop receives it; all of it before one deadline."""

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        """Take where its parts come from, and how long all of them may take."""
        self._receive = receive
        self._loop = loop
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._held = bytearray()
        self.is_over = False

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, none at the end. Raises RefusalError (408) once the time is over."""
        while not self.is_over and not 0 <= size <= len(self._held):
            self._held += self._wait()
        size = len(self._held) if size < 0 else size
        part = bytes(self._held[:size])
        del self._held[:size]
        return part

    async def discard(self, most: int, timeout_s: float) -> None:
        """Receive the rest, at most so many bytes for so long at most, and forget it.

        A sender that finds the connection closed while it sends never sees why it was refused, and tries again.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._forget(most), min(timeout_s, self._left()))

    async def _forget(self, most: int) -> None:
        while most > 0 and not self.is_over:
            most -= len(await self._next())

    def _wait(self) -> bytes:
        waiting = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
        try:
            return waiting.result(self._left())
        except LateError:
            waiting.cancel()
            message = f"body: expected all of it within {self._timeout_s:g} s"
            raise RefusalError(408, message, headers={"Connection": "close"}) from None

    def _left(self) -> float:
        """Return the seconds that are left; they count from the first wait, since a request may wait for its turn."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._timeout_s
        return max(self._deadline - time.monotonic(), 0)

    async def _next(self) -> bytes:
        message = await self._receive()
        self.is_over = message["type"] != "http.request" or not message.get("more_body", False)
        return bytes(message.get("body", b""))


class Front:
    """The ASGI application; `app` answers in one of `threads` threads."""

    def __init__(self, app: Application, threads: int, body_timeout_s: float) -> None:
        """Take the WSGI application, and how long a body may take, seconds."""
        self._app = app
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="receive")
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; its connection ends with it where some of its body was not read."""
        loop = asyncio.get_running_loop()
        body = Body(receive, loop, self._body_timeout_s)
        environ = environ_of(scope, body)
        status, headers, content = await loop.run_in_executor(self._threads, _ask, self._app, environ)
        most = environ.get(DISCARD)
        await body.discard(*((UNKNOWN_SENDER, _UNKNOWN_S) if most is None else (most, self._body_timeout_s)))
        if not body.is_over:
            headers = [*(each for each in headers if each[0].lower() != "connection"), ("Connection", "close")]
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": content})


def environ_of(scope: dict[str, Any], body: Body) -> dict[str, Any]:
    """Return the WSGI environment of a request (PEP 3333); repeated headers are joined (RFC 9110, 5.3)."""
    host, port = scope.get("server") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": str(host),
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": str((scope.get("client") or ("",))[0]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def _ask(app: Application, environ: dict[str, Any]) -> tuple[int, Headers, bytes]:
    answered: list[tuple[int, Headers]] = []
    parts: list[bytes] = []

    def start(status: str, headers: Headers, _problem: object = None, /) -> Callable[[bytes], object]:
        answered.append((int(status[:3]), headers))
        return parts.append

    parts.extend(app(environ, start))
    return *answered[-1], b"".join(parts)
