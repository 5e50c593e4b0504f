"""Request bodies: received before one deadline, limited in size, and decompressed within the same limit."""

from __future__ import annotations

import asyncio
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ingest.otlp.answers import RefusalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]

#: Bytes of a body that are received and dropped so that an unauthenticated sender sees its answer, and seconds for it.
UNKNOWN_SENDER: Final = 65_536
UNKNOWN_SENDER_S: Final = 2.0
_CHUNK: Final = 65_536
#: A gzip header and trailer are expected, and no raw stream.
_GZIP: Final = zlib.MAX_WBITS | 16
#: Members of a gzip stream beside one for each chunk of the longest body: each costs a copy of what follows it.
_MORE_MEMBERS: Final = 64
ENCODINGS: Final = ("", "identity", "gzip")


class RequestBody:
    """Body of one request, received from the ASGI server before one deadline.

    `discarded` is how many bytes may be received and dropped after the answer is known, None for an unknown sender.
    """

    def __init__(self, receive: Receive, timeout_s: float) -> None:
        """Receive the body through `receive`; the time counts from the first wait, not from the request's arrival."""
        self._receive = receive
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self.discarded: int | None = None
        self.is_over = False

    async def read(self, declared: str, limit: int) -> bytes:
        """Return the whole body; `declared` is its Content-Length, empty where there is none.

        Raises RefusalError: 400 for a malformed length, 408 at the deadline, 413 for more than `limit` bytes.
        """
        if declared and not (declared.isascii() and declared.isdigit()):
            raise RefusalError(400, "Content-Length: expected a number")
        if declared and int(declared) > limit:
            raise _too_long(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(self._left_s()):
                while not self.is_over and len(body) <= limit:
                    body += await self._next()
        except TimeoutError:
            message = f"body: expected all of it within {self._timeout_s:g} s"
            raise RefusalError(408, message, headers={"Connection": "close"}) from None
        if len(body) > limit:
            raise _too_long(limit)
        return bytes(body)

    async def discard(self) -> None:
        """Receive and drop the rest of the body, within the sender's bounds.

        A sender that finds the connection closed while it sends never sees why it was refused, and tries again.
        """
        is_known = self.discarded is not None
        most = UNKNOWN_SENDER if self.discarded is None else self.discarded
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._timeout_s if is_known else UNKNOWN_SENDER_S, self._left_s())):
                while most > 0 and not self.is_over:
                    most -= len(await self._next())

    def _left_s(self) -> float:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._timeout_s
        return max(self._deadline - time.monotonic(), 0)

    async def _next(self) -> bytes:
        message = await self._receive()
        self.is_over = message["type"] != "http.request" or not message.get("more_body", False)
        return bytes(message.get("body", b""))


def decompress(body: bytes, limit: int) -> bytes:
    """Return the content of a gzip stream of one or more members.

    Raises RefusalError: 400 for a damaged stream or one of too many members, 413 for more than `limit` bytes.
    """
    parts: list[bytes] = []
    left, rest = limit, body
    most = limit // _CHUNK + _MORE_MEMBERS
    try:
        while rest:
            if len(parts) == most:
                raise RefusalError(400, f"body: expected a gzip stream of at most {most} members")
            member = zlib.decompressobj(_GZIP)
            part = member.decompress(rest, left + 1)
            left -= len(part)
            if left < 0:
                raise _too_long(limit)
            if not member.eof:
                raise RefusalError(400, "body: the gzip stream is cut off")
            parts.append(part)
            rest = member.unused_data
    except zlib.error:
        raise RefusalError(400, "body: expected a gzip stream") from None
    return b"".join(parts)


def _too_long(limit: int) -> RefusalError:
    return RefusalError(413, f"body: expected at most {limit} bytes, decompressed; send smaller batches")
