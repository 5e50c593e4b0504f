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

from api.caching import ShortCache
from api.encoding import accepted
from api.published import CACHE_TTL_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from api.authentication import Caller
    from api.context import Repeatable
    from api.limits import PortionedLimit

STALE_HEADER: Final = "snapshot-stale"
#: Headers of a body, which a 304 does not have.
_OF_BODY: Final = frozenset({"content-length", "content-type", "content-encoding"})
_CAPACITY_BYTES: Final = 16 * 2**20
_OVERHEAD_BYTES: Final = 1024

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and what the log says of it. `body` is what WSGI sends."""

    status: str
    headers: Headers
    body: list[bytes]
    route: str
    caller: Caller | None


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer in its two forms; `full` is None while nobody has asked for the body."""

    full: Answer | None
    unchanged: Answer
    terms: Repeatable

    @property
    def weight(self) -> int:
        return (sum(map(len, self.full.body)) if self.full else 0) + _OVERHEAD_BYTES


class Repeats:
    """The answers that may be repeated."""

    def __init__(
        self, limit: PortionedLimit, clock: Callable[[], datetime], timer: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the limit that a repeated answer counts against, the clock that judges ages, and the caches' timer."""
        self._limit = limit
        self._clock = clock
        self._timer = timer
        self._kept: ShortCache[_Kept] = ShortCache(
            _CAPACITY_BYTES, CACHE_TTL_S, timer=timer, weigh=lambda kept: kept.weight
        )

    def find(self, environ: dict[str, Any]) -> Answer | None:
        """Return the answer to repeat, or None when the application has to answer."""
        kept = self._kept.get(_key(environ)) if "HTTP_AUTHORIZATION" in environ else None
        if kept is None or self._timer() >= kept.terms.until:
            return None
        held = environ.get("HTTP_IF_NONE_MATCH")
        now = self._clock()
        if held not in {None, kept.terms.etag} or not kept.terms.caller.is_valid_at(now):
            return None
        answer = kept.full if held is None else kept.unchanged
        if answer is None or not self._limit.take(kept.terms.caller.key_id):
            return None
        return _aged(answer, is_stale=now > kept.terms.stale_after)

    def keep(self, environ: dict[str, Any], answer: Answer, terms: Repeatable) -> None:
        """Keep an `answer` to a GET on its `terms`: with a body for those who ask for it, without for the others."""
        if environ["REQUEST_METHOD"] != "GET" or answer.status[:3] not in {"200", "304"}:
            return
        lasting = [(name, value) for name, value in answer.headers if name.lower() != STALE_HEADER]
        bare = [(name, value) for name, value in lasting if name.lower() not in _OF_BODY]
        has_body = answer.status.startswith("200")
        full = Answer(answer.status, lasting, answer.body, answer.route, terms.caller) if has_body else None
        unchanged = Answer("304 Not Modified", bare, [], answer.route, terms.caller)
        self._kept.keep(_key(environ), _Kept(full, unchanged, terms))


def _key(environ: dict[str, Any]) -> tuple[object, ...]:
    """Return what decides an answer; the credential as its hash, so that none lies in memory for longer."""
    return (
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"],
        environ["QUERY_STRING"],
        hashlib.sha256(environ["HTTP_AUTHORIZATION"].encode()).digest(),
        accepted(environ.get("HTTP_ACCEPT_ENCODING", "")),
        environ.get("HTTP_ORIGIN"),
    )


def _aged(answer: Answer, *, is_stale: bool) -> Answer:
    headers = [*answer.headers, (STALE_HEADER, "?1" if is_stale else "?0")]
    return Answer(answer.status, headers, answer.body, answer.route, answer.caller)
