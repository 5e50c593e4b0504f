"""Content codings: which one a client takes, and bodies in it (RFC 9110, 12.5.3)."""

from __future__ import annotations

import gzip
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable

#: A smaller body is sent as it is: the headers that it would take eat what it saves.
MIN_BYTES: Final = 1024
_MAX_HEADER_CHARS: Final = 256
_GZIP_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3

#: The best first.
_CODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    # A compressor serves one thread at a time, so each body has its own.
    "zstd": lambda body: zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body),
    "gzip": lambda body: gzip.compress(body, _GZIP_LEVEL, mtime=0),
}


def accepted(header: str) -> str | None:
    """Return the best coding that `Accept-Encoding: header` takes, None for the body as it is."""
    # Before it is remembered: 256 headers of the greatest length would take megabytes, and need no credential.
    return None if len(header) > _MAX_HEADER_CHARS else _best(header)


@lru_cache(maxsize=256)
def _best(header: str) -> str | None:
    weights = dict(_weight(part) for part in header.lower().split(","))
    return next((coding for coding in _CODERS if weights.get(coding, weights.get("*", 0.0)) > 0), None)


def encode(body: bytes, coding: str | None) -> tuple[bytes, str | None]:
    """Return `body` in `coding`, and the coding: None where the body is not worth it."""
    if coding is None or len(body) < MIN_BYTES:
        return body, None
    return _CODERS[coding](body), coding


def _weight(part: str) -> tuple[str, float]:
    """Return a coding and its weight, 0 for one that is malformed."""
    name, _, parameter = part.partition(";")
    key, _, value = parameter.partition("=")
    if not parameter.strip():
        return name.strip(), 1.0
    try:
        return name.strip(), float(value) if key.strip() == "q" else 0.0
    except ValueError:
        return name.strip(), 0.0
