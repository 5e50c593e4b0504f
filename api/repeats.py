"""Answers of the last second, repeated: to the same request with the same credential, as long as they hold.

A snapshot endpoint's answer is the same bytes for everybody of a tenant until the look-up behind it is a second old.
This finds it again without the framework. What decides an answer is in the key: path, query, credential, coding and
origin. What must be decided anew is: the rate limit, the staleness, `If-None-Match`, and how long the credential holds.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from api.encoding import accepted

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from api.authentication import Caller
    from api.context import Repeatable
    from api.limits import PortionedLimit

STALE_HEADER: Final = "snapshot-stale"
#: Headers of a body, which a 304 does not have.
_OF_BODY: Final = frozenset({"content-length", "content-type", "content-encoding"})
_CAPACITY_BYTES: Final = 8 * 2**20
_CAPACITY: Final = 1_000
#: What an answer takes beside its body, about.
_OVERHEAD_BYTES: Final = 4096

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and what the log says of it. `body` is what WSGI sends, `size` its bytes."""

    status: str
    headers: Headers
    body: list[bytes]
    route: str
    caller: Caller | None
    size: int

    @classmethod
    def of(cls, status: str, headers: Headers, body: list[bytes], route: str, caller: Caller | None) -> Answer:
        """Return the answer, its size counted."""
        return cls(status, headers, body, route, caller, sum(map(len, body)))


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer in its forms, fresh and stale; `full` is None while nobody has asked for the body.

    All are made when it is kept, so that repeating one makes nothing.
    """

    terms: Repeatable
    unchanged: tuple[Answer, Answer]
    full: tuple[Answer, Answer] | None

    @property
    def weight(self) -> int:
        return (self.full[0].size if self.full else 0) + _OVERHEAD_BYTES


class Repeats:
    """The answers that may be repeated."""

    def __init__(
        self, limit: PortionedLimit, clock: Callable[[], datetime], timer: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the limit that a repeated answer counts against, the clock that judges ages, and the caches' timer."""
        self._limit = limit
        self._clock = clock
        self._timer = timer
        # Each look-up counts here, and what is kept says itself when it ends: a plain dictionary does.
        self._kept: dict[tuple[object, ...], _Kept] = {}
        self._bytes = 0

    def find(self, environ: dict[str, Any]) -> Answer | None:
        """Return the answer to repeat, or None when the application has to answer."""
        kept = self._kept.get(_key(environ)) if "HTTP_AUTHORIZATION" in environ else None
        if kept is None or self._timer() >= kept.terms.until:
            return None
        held = environ.get("HTTP_IF_NONE_MATCH")
        forms = kept.full if held is None else kept.unchanged
        if forms is None or (held is not None and held != kept.terms.etag):
            return None
        now, caller = self._clock(), kept.terms.caller
        if not caller.is_valid_at(now) or not self._limit.take(caller.key_id):
            return None
        return forms[now > kept.terms.stale_after]

    def keep(self, environ: dict[str, Any], answer: Answer, terms: Repeatable) -> None:
        """Keep an `answer` to a GET on its `terms`: with a body for those who ask for it, without for the others."""
        if environ["REQUEST_METHOD"] != "GET" or answer.status[:3] not in {"200", "304"}:
            return
        full = _forms(answer, terms) if answer.status.startswith("200") else None
        kept = _Kept(terms, _forms(_bare(answer), terms), full)
        if self._bytes + kept.weight > _CAPACITY_BYTES or len(self._kept) >= _CAPACITY:
            self._make_room()
        self._kept[_key(environ)] = kept
        self._bytes += kept.weight

    def _make_room(self) -> None:
        """Forget what has ended, or everything when that is not enough."""
        now = self._timer()
        lasting = {key: kept for key, kept in list(self._kept.items()) if now < kept.terms.until}
        weight = sum(kept.weight for kept in lasting.values())
        is_enough = weight < _CAPACITY_BYTES // 2 and len(lasting) < _CAPACITY // 2
        self._kept, self._bytes = (lasting, weight) if is_enough else ({}, 0)


def _key(environ: dict[str, Any]) -> tuple[object, ...]:
    """Return what decides an answer; the credential as its hash, so that none lies in memory for longer."""
    return (
        environ["PATH_INFO"],
        environ["QUERY_STRING"],
        hashlib.sha256(environ["HTTP_AUTHORIZATION"].encode()).digest(),
        accepted(environ.get("HTTP_ACCEPT_ENCODING", "")),
        environ.get("HTTP_ORIGIN"),
        environ["REQUEST_METHOD"],
    )


def _bare(answer: Answer) -> Answer:
    """Return the 304 in place of `answer`."""
    headers = [(name, value) for name, value in answer.headers if name.lower() not in _OF_BODY]
    return Answer.of("304 Not Modified", headers, [], answer.route, answer.caller)


def _forms(answer: Answer, terms: Repeatable) -> tuple[Answer, Answer]:
    """Return `answer` as it is while fresh, and once stale."""
    lasting = [(name, value) for name, value in answer.headers if name.lower() != STALE_HEADER]
    fresh, stale = (
        Answer.of(answer.status, [*lasting, (STALE_HEADER, flag)], answer.body, answer.route, terms.caller)
        for flag in ("?0", "?1")
    )
    return fresh, stale
