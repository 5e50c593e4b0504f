"""Bodies of requests, read and decompressed within a bound: neither a long one nor a bomb takes more memory."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from ingest.otlp.answers import RefusalError

if TYPE_CHECKING:
    from typing import Protocol

    class Stream(Protocol):
        """Where a body is read from."""

        def read(self, size: int = ..., /) -> bytes:
            """Return at most `size` bytes; none at the end."""


_CHUNK: Final = 65_536
#: A gzip header and trailer are expected, and no raw stream.
_GZIP: Final = zlib.MAX_WBITS | 16
#: Members of a gzip stream beside one for each chunk of the longest body: each costs a copy of what follows it.
_MORE_MEMBERS: Final = 64
_ENCODINGS: Final = ("", "identity", "gzip")


def read(stream: Stream, declared: str, encoding: str, limit: int) -> bytes:
    """Return the body, decompressed, at most `limit` bytes of it.

    Raises RefusalError: 400 for a stream that is damaged or in too many pieces, 413 for a longer body, 415 for another
    encoding.
    """
    if encoding not in _ENCODINGS:
        raise RefusalError(415, "Content-Encoding: expected gzip or none")
    if declared and not (declared.isascii() and declared.isdigit()):
        raise RefusalError(400, "Content-Length: expected a number")
    if declared and int(declared) > limit:
        raise _too_long(limit)
    body = _read(stream, int(declared) if declared else limit + 1, limit)
    return _decompressed(body, limit) if encoding == "gzip" else body


def _read(stream: Stream, size: int, limit: int) -> bytes:
    parts, left = [], size
    while left > 0:
        part = stream.read(min(left, _CHUNK))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    body = b"".join(parts)
    if len(body) > limit:
        raise _too_long(limit)
    return body


def _decompressed(body: bytes, limit: int) -> bytes:
    """Return what a gzip stream of one or more members holds."""
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
