"""The console's files as they are shipped: read once, and each of them there in every coding that browsers take."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import zstandard

from api.http import encoding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOLDER: Final = Path(__file__).parent / "bundle"
MANIFEST: Final = "manifest.json"
INDEX: Final = "index.html"

_MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)
#: As small as each coder can, which takes a few hundredths of a second, once per process.
_CODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = MappingProxyType(
    {
        "zstd": lambda content: zstandard.ZstdCompressor(level=19).compress(content),
        "gzip": lambda content: gzip.compress(content, 9, mtime=0),
    }
)
#: A name with a hash in it never has another content.
_FOREVER: Final = "public, max-age=31536000, immutable"
#: Others are asked for again each time, which mostly ends in a 304.
_ASK_AGAIN: Final = "no-cache"


@dataclass(frozen=True, slots=True)
class File:
    """A file of the console: its bytes by coding, and what a browser may do with it."""

    media_type: str
    etag: str
    cache_control: str
    codings: Mapping[str | None, bytes]

    def body(self, accept_encoding: str) -> tuple[bytes, str | None]:
        """Return the bytes for a client that takes these codings, and the coding."""
        coding = encoding.accepted(accept_encoding)
        return (self.codings[coding], coding) if coding in self.codings else (self.codings[None], None)


def load(folder: Path = FOLDER) -> Mapping[str, File]:
    """Return the files that the manifest names, by name: what else lies there is not served."""
    manifest = json.loads((folder / MANIFEST).read_text())
    return MappingProxyType({name: _file(folder / name) for name in manifest["files"]})


def _file(path: Path) -> File:
    content = path.read_bytes()
    codings: dict[str | None, bytes] = {None: content}
    codings |= {coding: encode(content) for coding, encode in _CODERS.items()}
    is_named_by_content = "-" in path.stem
    return File(
        media_type=_MEDIA_TYPES[path.suffix],
        etag=hashlib.sha256(content).hexdigest()[:16],
        cache_control=_FOREVER if is_named_by_content else _ASK_AGAIN,
        codings=MappingProxyType(codings),
    )
