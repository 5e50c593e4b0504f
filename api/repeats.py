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
_CAPACITY_BYTES: Final = 2 * 2**20
_CAPACITY: Final = 256
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


class _Kept:
    """An answer that may be repeated; each of its forms is made when it is first asked for."""

    __slots__ = ("_forms", "answer", "terms")

    def __init__(self, answer: Answer, terms: Repeatable) -> None:
        """Take the answer as it was sent: one without a body serves those who hold it."""
        self.answer = answer
        self.terms = terms
        self._forms: dict[tuple[bool, bool], Answer | None] = {}

    @property
    def weight(self) -> int:
        """About how many bytes it takes to keep."""
        return self.answer.size + _OVERHEAD_BYTES

    def form(self, *, has_body: bool, is_stale: bool) -> Answer | None:
        """Return the answer in one of its forms; None when the body is asked for and is not here."""
        form = (has_body, is_stale)
        if form not in self._forms:
            self._forms[form] = self._make(has_body=has_body, is_stale=is_stale)
        return self._forms[form]

    def _make(self, *, has_body: bool, is_stale: bool) -> Answer | None:
        answer = self.answer
        if has_body and answer.status.startswith("304"):
            return None
        dropped = {STALE_HEADER} if has_body else {STALE_HEADER, *_OF_BODY}
        headers = [(name, value) for name, value in answer.headers if name.lower() not in dropped]
        headers.append((STALE_HEADER, "?1" if is_stale else "?0"))
        status, body = (answer.status, answer.body) if has_body else ("304 Not Modified", [])
        return Answer.of(status, headers, body, answer.route, self.terms.caller)


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
        if held is not None and held != kept.terms.etag:
            return None
        now, caller = self._clock(), kept.terms.caller
        answer = kept.form(has_body=held is None, is_stale=now > kept.terms.stale_after)
        if answer is None or not caller.is_valid_at(now) or not self._limit.take(caller.key_id):
            return None
        return answer

    def keep(self, environ: dict[str, Any], answer: Answer, terms: Repeatable) -> None:
        """Keep an `answer` to a GET on its `terms`."""
        if environ["REQUEST_METHOD"] != "GET" or answer.status[:3] not in {"200", "304"}:
            return
        kept = _Kept(answer, terms)
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
