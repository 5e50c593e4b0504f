"""Outer WSGI middleware: request id, concurrency limit, response cache, shared headers and access log."""

from __future__ import annotations

import itertools
import re
import secrets
from threading import BoundedSemaphore
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from api.auth.limits import overloaded
from api.http import problems
from api.http.answers import SHARED_HEADERS, Answer, Asked
from api.http.context import CALLER, REPEATABLE, REQUEST_ID, ROUTE
from api.http.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication

    from api.http.answers import Headers
    from api.http.request_recorder import RequestRecorder
    from api.http.response_cache import ResponseCache

#: A request waits so long at most for others to be answered, seconds.
WAIT_S: Final = 0.5
MAX_BODY_BYTES: Final = 65_536
#: As many as 64 bits take; Python raises above 4,300.
_MAX_LENGTH_DIGITS: Final = 20
#: What answers however busy the others are.
_ALWAYS: Final = frozenset({"/livez", "/metrics"})
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestMiddleware:
    """The outermost layer: a WSGI application around another."""

    def __init__(
        self, application: WSGIApplication, repeats: ResponseCache, records: RequestRecorder, *, in_flight: int
    ) -> None:
        """Take how many requests may be answered at a time; one more waits a moment, then gets a 503."""
        self._application = application
        self._repeats = repeats
        self.records = records
        self._slots = BoundedSemaphore(in_flight)
        # Unique among processes and restarts, and cheaper than a random id per request.
        self._prefix = f"{secrets.token_hex(6)}-"
        self._numbers = itertools.count(1)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        began = perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID")
        request_id = self._prefix + str(next(self._numbers)) if given is None else self._name(given)
        answer = self._repeats.find(environ)
        if answer is None:
            environ[REQUEST_ID] = request_id
            answer = self._answer(environ)
        start_response(answer.status, [*answer.headers, ("x-request-id", request_id)])
        self.records.note((began, perf_counter(), request_id, answer))
        return answer.body

    def keep_house(self) -> None:
        """Write down what was answered, and forget what has ended, every half second from now on."""
        self.records.keep_flushing(self._repeats.forget_ended)

    def _name(self, given: str) -> str:
        """Return the caller's request id when it is harmless in a log, else a new one."""
        return given if _REQUEST_ID.fullmatch(given) else self._prefix + str(next(self._numbers))

    def _answer(self, environ: dict[str, Any]) -> Answer:
        if _body_bytes(environ) > MAX_BODY_BYTES:
            detail = f"The body is too large; at most {MAX_BODY_BYTES} bytes are read."
            return _problem(environ, ProblemError(413, "body_too_large", detail))
        if environ["PATH_INFO"] in _ALWAYS:
            return self._run(environ)
        if not self._slots.acquire(timeout=WAIT_S):
            return _problem(environ, overloaded())
        try:
            return self._run(environ)
        finally:
            self._slots.release()

    def _run(self, environ: dict[str, Any]) -> Answer:
        """Let the application answer, and keep the answer where it may be repeated."""
        started: list[Any] = []
        body = self._application(environ, _capture(started))
        asked = _asked(environ)
        answer = Answer.of(started[0], _shared(*started), list(body), asked)
        terms = environ.get(REPEATABLE)
        if terms is not None:
            self._repeats.keep(environ, answer, asked, terms)
        return answer


def _asked(environ: dict[str, Any]) -> Asked:
    return Asked(environ.get(ROUTE, "none"), environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get(CALLER))


def _capture(started: list[Any]) -> Callable[..., Any]:
    def start_response(status: str, headers: Headers, _exc_info: object = None) -> Callable[[bytes], object]:
        started[:] = [status, headers]
        return lambda _: None

    return start_response


def _shared(status: str, headers: Headers) -> Headers:
    """Return the headers with those that all share; a 304 goes without: the client keeps those of the answer it has.

    A header that the answer has already, such as the console's own policy, stays as it is.
    """
    if status.startswith("304"):
        return headers
    named = {name.lower() for name, _ in headers}
    return [*headers, *(header for header in SHARED_HEADERS if header[0] not in named)]


def _body_bytes(environ: dict[str, Any]) -> int:
    """Return the length that the request declares; one that is no number, or no server's, is too long."""
    declared = environ.get("CONTENT_LENGTH") or "0"
    is_number = declared.isascii() and declared.isdigit() and len(declared) <= _MAX_LENGTH_DIGITS
    return int(declared) if is_number else MAX_BODY_BYTES + 1


def _problem(environ: dict[str, Any], problem: ProblemError) -> Answer:
    document = problem.document(environ["PATH_INFO"])
    headers = [
        ("content-type", problems.MEDIA_TYPE),
        ("content-length", str(len(document))),
        ("cache-control", "no-store"),
        *((name.lower(), value) for name, value in problem.headers.items()),
    ]
    status = f"{problem.status.value} {problem.status.phrase}"
    return Answer.of(status, [*headers, *SHARED_HEADERS], [document], _asked(environ))
