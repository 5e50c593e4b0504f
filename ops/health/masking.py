"""Taking out of a text what is not for other eyes: secrets, tenants, and whatever may be a row's content.

What is kept is named, not what is taken out: plain words, names of our own relations, numbers under known names.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from snapshots.body import in_utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HIDDEN: Final = "***"
#: A shorter one is part of ordinary words.
_SHORTEST_SECRET: Final = 4
#: Names under which our own logs write numbers and words of ours.
_NAMED: Final = (
    "signal|id|state|method|as_of|marks|tenants|changed|rows|drift|partitions|attempts|abandoned|seconds|status|shard"
)
_TIME: Final = r"\d{4}-\d\d-\d\d[T ]?[\d:.,+-]*Z?|\d\d:\d\d:\d\d[.,\d]*"
_OUR_NAME: Final = r"(?:signals|api|celery|migrations|ops|snapshots|worker)(?:\.[a-z_]+)+"
_KEPT: Final = re.compile(
    rf"(?:{_TIME}|[A-Z]+|[A-Za-z]?[a-z]+(?:[A-Z][a-z]+)*|{_OUR_NAME}|(?:{_NAMED})=(?:{_TIME}|\d+|[a-z]+|None))[.,:;]?"
)
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'|\([^()]*\)=?|\{[^{}]*\}|\[[^\[\]]*\]")
_OURS: Final = re.compile(r"\"signals\.[a-z_]+\"")
_USERINFO: Final = re.compile(r"://[^/\s@\0]*@")
#: No name of PostgreSQL's and no variable holds it.
_BETWEEN: Final = "\0"


@dataclass(frozen=True, slots=True)
class Masks:
    """Known secrets and tenant names; a tenant has one pseudonym per instance.

    The salt is thrown away with the object, so that nobody can try names out.
    """

    secret: Sequence[str] = ()
    tenants: Sequence[str] = ()
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def tenant(self, name: str) -> str:
        """Return the pseudonym of a tenant."""
        return "tenant-" + hashlib.sha256(self._salt + name.encode(errors="replace")).hexdigest()[:8]

    def known(self, text: str) -> str:
        """Replace the secrets and tenants that are known, wherever they stand.

        A tenant that is called like a number is left to `prose`, which keeps none: any count may be the same.
        """
        for word in sorted(self.secret, key=len, reverse=True):
            text = text.replace(word, HIDDEN) if len(word) >= _SHORTEST_SECRET else text
        for name in sorted(filter(None, self.tenants), key=len, reverse=True):
            if name in text and not name.isdecimal():
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda found: self.tenant(found[0]), text)
        return _USERINFO.sub("://", text)

    def known_in(self, member: object) -> object:
        """Replace them in every text of JSON's plain values, and nowhere else: a tenant may be called `null`."""
        # All texts at once: names are looked for one by one, and there may be many of either.
        texts = [text.replace(_BETWEEN, "") for text in _texts(member)]
        return _retold(member, iter(self.known(_BETWEEN.join(texts)).split(_BETWEEN)))

    def prose(self, text: str) -> str:
        """Keep the plain words of a message; quoted values, numbers and names of anything go, all but what is known."""
        text = _QUOTED.sub(lambda found: found[0] if _OURS.fullmatch(found[0]) else HIDDEN, text)
        return " ".join(self._word(word) for word in text.split())

    def _word(self, word: str) -> str:
        return word if _KEPT.fullmatch(word) or _OURS.fullmatch(word) else HIDDEN

    def values(self, member: object) -> object:
        """Return plain values for JSON: numbers and times as they are, texts as prose, tenants by their pseudonyms."""
        if isinstance(member, dict):
            return {str(name): self._member(str(name), value) for name, value in member.items()}
        if isinstance(member, list | tuple | set | frozenset):
            return [self.values(value) for value in member]
        if isinstance(member, datetime):
            return in_utc(member).isoformat()
        return member if member is None or isinstance(member, bool | int | float) else self.prose(str(member))

    def _member(self, name: str, value: object) -> object:
        if name in {"tenant", "tenant_id"}:
            return None if value is None else self.tenant(str(value))
        return self.values(value)


def _texts(member: object) -> Iterator[str]:
    if isinstance(member, str):
        yield member
    elif isinstance(member, dict | list):
        for each in member.values() if isinstance(member, dict) else member:
            yield from _texts(each)


def _retold(member: object, texts: Iterator[str]) -> object:
    if isinstance(member, dict):
        return {name: _retold(each, texts) for name, each in member.items()}
    if isinstance(member, list):
        return [_retold(each, texts) for each in member]
    return next(texts) if isinstance(member, str) else member


def log_lines(masks: Masks, lines: Iterable[str]) -> list[str]:
    """Return the lines of a log as prose, those of the access log without who asked, and for what.

    What a server adds to a message (statement, detail, context) goes whole, and so do the lines of a stack.
    """
    kept = (line for line in lines if line.strip() and not line.startswith(("\t", " ")) and not _ADDED.search(line))
    return [_access(line) if line.startswith("{") else masks.prose(line) for line in kept]


_ADDED: Final = re.compile(r"\b(?:STATEMENT|DETAIL|CONTEXT|QUERY|HINT|LOCATION):")
_SHOWN: Final = re.compile(r'"(?:time|event|status|duration_ms|bytes|level)": ?(?:"[\w:.-]*"|[\d.]+)')


def _access(line: str) -> str:
    return "{" + ",".join(_SHOWN.findall(line)) + "}"
