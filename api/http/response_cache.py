"""Answers of the last second, repeated: to the same request with the same credential, as long as they hold.

A snapshot endpoint's answer is the same bytes for everybody of a tenant until the look-up behind it is a second old.
This finds it again without the framework. What decides an answer is in the key: credential, path, query, method, origin
and coding. What may end it within its second sets the instant until which it is repeated: the end of the credential,
and the moment at which it has to be called stale. What is decided anew is the rate limit and `If-None-Match`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from api.http.answers import SHARED_HEADERS, Answer
from api.http.encoding import accepted

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from api.auth.limits import PortionedLimit
    from api.http.answers import Asked
    from api.http.context import Repeatable

#: Headers that a 304 goes without: those of the body, and those that the client keeps of the answer that it has.
_NOT_OF_304: Final = frozenset(
    {"content-length", "content-type", "content-encoding", *(name for name, _ in SHARED_HEADERS)}
)
_CAPACITY_BYTES: Final = 2**20
_CAPACITY: Final = 256
#: What an answer takes beside its body, about.
_OVERHEAD_BYTES: Final = 4096
#: What a request brings lies in memory as its key: one that brings more than this is answered anew each time.
MAX_KEY_CHARS: Final = 16_384

_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer that may be repeated until an instant of the timer: whole (None: the body is not here), and as 304."""

    until: float
    etag: str
    key_id: str
    whole: Answer | None
    bare: Answer
    weight: int


class ResponseCache:
    """The answers that may be repeated."""

    def __init__(
        self, limit: PortionedLimit, clock: Callable[[], datetime], timer: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the limit that a repeated answer counts against, the clock that judges ages, and the caches' timer."""
        self._take = limit.take
        self._clock = clock
        self._timer = timer
        # Each look-up counts here, and what is kept says itself when it ends: a plain dictionary does.
        self._kept: dict[_Key, _Kept] = {}
        self._bytes = 0

    def find(self, environ: dict[str, Any]) -> Answer | None:
        """Return the answer to repeat, or None when the application has to answer."""
        kept = self._kept.get(_key(environ))
        if kept is None or self._timer() >= kept.until:
            return None
        held = environ.get("HTTP_IF_NONE_MATCH")
        if held is None:
            answer = kept.whole
        elif held == kept.etag:
            answer = kept.bare
        else:
            return None
        return answer if answer is not None and self._take(kept.key_id) else None

    def keep(self, environ: dict[str, Any], answer: Answer, asked: Asked, terms: Repeatable) -> None:
        """Keep an `answer` to a GET on its `terms`."""
        if asked.method != "GET" or answer.kind[2] not in {"200", "304"}:
            return
        key = _key(environ)
        brought = _chars(key)
        if brought > MAX_KEY_CHARS:
            return
        kept = _kept(answer, asked, terms, self._until(terms), brought)
        if self._bytes + kept.weight > _CAPACITY_BYTES or len(self._kept) >= _CAPACITY:
            self._make_room()
        self._kept[key] = kept
        self._bytes += kept.weight

    def forget_ended(self) -> None:
        """Forget what has ended: neither bodies nor credentials lie in memory for longer than they serve."""
        now = self._timer()
        lasting = {key: kept for key, kept in list(self._kept.items()) if now < kept.until}
        self._kept, self._bytes = lasting, sum(kept.weight for kept in lasting.values())

    def _until(self, terms: Repeatable) -> float:
        """Return the first instant at which the answer would be another one."""
        now, timer = self._clock(), self._timer()
        # What is stale already stays so.
        stale_after = terms.stale_after if terms.stale_after >= now else None
        ends = [end for end in (stale_after, terms.caller.valid_until) if end is not None]
        return min([terms.until, *(timer + (end - now).total_seconds() for end in ends)])

    def _make_room(self) -> None:
        """Forget what has ended, or everything when that is not enough."""
        self.forget_ended()
        if self._bytes >= _CAPACITY_BYTES // 2 or len(self._kept) >= _CAPACITY // 2:
            self._kept, self._bytes = {}, 0


def _kept(answer: Answer, asked: Asked, terms: Repeatable, until: float, brought: int) -> _Kept:
    """Return the answer in both of its forms; one that was sent without its body serves those who hold that.

    Its weight is about what it takes, with the `brought` characters of its key.
    """
    is_whole = answer.kind[2] == "200"
    bare = answer if not is_whole else _without_body(answer, asked)
    whole = answer if is_whole else None
    return _Kept(until, terms.etag, terms.caller.key_id, whole, bare, answer.size + brought + _OVERHEAD_BYTES)


def _chars(key: _Key) -> int:
    """Return how many characters a key holds, a byte each: they come from a request."""
    return sum(len(part) for part in key if isinstance(part, str))


def _without_body(answer: Answer, asked: Asked) -> Answer:
    """Return the 304 that says the same."""
    headers = [(name, value) for name, value in answer.headers if name.lower() not in _NOT_OF_304]
    return Answer.of("304 Not Modified", headers, [], asked)


def _key(environ: dict[str, Any]) -> _Key:
    """Return what decides an answer.

    The credential as it came: hashing it would take a fifth of the time of a repeated answer. It lies here for as long
    as what it opened, and is found by a keyed hash, whose time tells nothing of it.
    """
    coding = environ.get("HTTP_ACCEPT_ENCODING")
    return (
        environ.get("HTTP_AUTHORIZATION"),
        environ.get("HTTP_COOKIE"),
        environ["PATH_INFO"],
        environ["QUERY_STRING"],
        environ["REQUEST_METHOD"],
        environ.get("HTTP_ORIGIN"),
        coding and accepted(coding),
    )
