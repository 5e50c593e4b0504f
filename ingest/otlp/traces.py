"""POST /v1/traces: a request's spans, kept before it is answered."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Final

from psycopg2.errorcodes import INVALID_SCHEMA_NAME, READ_ONLY_SQL_TRANSACTION, UNDEFINED_TABLE
from sqlalchemy import func, select
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from api.http.problems import ProblemError
from ingest.assembly.buffer import Acceptance, accept
from ingest.assembly.spans import Span
from ingest.otlp import answers, bodies, decoding
from ingest.otlp.answers import JSON, PROTOBUF, RefusalError
from ingest.otlp.decoding import TooManySpansError, UnreadableRequestError
from ingest.otlp.failures import Failures
from ingest.otlp.front import DISCARD
from snapshots.errors import sqlstate
from snapshots.signals import INGEST_CAPABILITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from falcon import Request, Response
    from sqlalchemy import Engine

    from api.auth.authentication import Caller, Gate
    from ingest.otlp.metrics import Metrics
    from snapshots.settings import Settings

_MEBIBYTE: Final = 1024 * 1024
#: Bodies larger than this are taken apart one at a time: what they become takes many times their size.
_HEAVY: Final = _MEBIBYTE
#: So many times the largest body is read of one that is refused, when its sender is known.
_DISCARDED: Final = 8
#: A request waits so long for its turn, seconds, and is told to come back after so many.
_PATIENCE_S: Final = 2.0
_RETRY_AFTER_S: Final = 2
_READ: Final = {PROTOBUF: decoding.read_protobuf, JSON: decoding.read_json}
#: statement_timeout of a request, seconds.
STATEMENT_TIMEOUT_S: Final = 15
#: Neither a lock nor a slow disk may hold up a sender for longer.
_HASTE: Final = select(
    func.set_config("lock_timeout", "5s", True),  # noqa: FBT003  # local to the transaction
    func.set_config("statement_timeout", f"{STATEMENT_TIMEOUT_S}s", True),  # noqa: FBT003  # local to the transaction
)
#: What the server says while our schema is detached or replaced, or a standby has not been promoted yet: it passes.
_AWAY: Final = {UNDEFINED_TABLE, INVALID_SCHEMA_NAME, READ_ONLY_SQL_TRANSACTION}
_AWAY_RETRY_AFTER_S: Final = 10
_log = logging.getLogger(__name__)


class Traces:
    """Takes spans in; the tenant is the key's, whatever the spans say of themselves."""

    def __init__(
        self, gate: Gate, engine: Engine, metrics: Metrics, settings: Settings, clock_ns: Callable[[], int]
    ) -> None:
        """Take an engine of the ingest role, and the clock that spans may not be far ahead of."""
        self._gate = gate
        self._engine = engine
        self._metrics = metrics
        self._clock_ns = clock_ns
        self._failures = Failures(_log)
        self._limit = settings.ingest_max_body_mb * _MEBIBYTE
        self._slots = BoundedSemaphore(settings.ingest_threads)
        self._heavy = Lock()

    def on_post(self, req: Request, resp: Response) -> None:
        """Keep the spans of a request, then answer it. Raises RefusalError: a stranger, before its body is read."""
        caller = self._admit(req)
        req.env[DISCARD] = _DISCARDED * self._limit
        media_type = media_type_of(req)
        if media_type not in _READ:
            raise RefusalError(415, f"Content-Type: expected {PROTOBUF} or {JSON}")
        with self._turn():
            spans, refused = self._spans(req, media_type)
            done = self._keep(caller.tenant_id, spans)
        refused += done.refused
        self._metrics.accepted(done, refused.total())
        resp.content_type = media_type
        resp.data = answers.success(refused, media_type)

    def _admit(self, req: Request) -> Caller:
        try:
            return self._gate.admit(req, INGEST_CAPABILITY)
        except ProblemError as ex:
            raise RefusalError(ex.status.value, ex.detail, headers={**ex.headers, "Connection": "close"}) from None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=_PATIENCE_S):
            raise RefusalError(503, "too many requests are being read", retry_after_s=_RETRY_AFTER_S)
        try:
            yield
        finally:
            self._slots.release()

    def _spans(self, req: Request, media_type: str) -> tuple[list[Span], Counter[str]]:
        declared, encoding = req.get_header("Content-Length") or "", req.get_header("Content-Encoding") or ""
        body = bodies.read(req.env["wsgi.input"], declared, encoding.strip().lower(), self._limit)
        if len(body) <= _HEAVY:
            return self._read(media_type, body)
        with self._heavy:
            return self._read(media_type, body)

    def _read(self, media_type: str, body: bytes) -> tuple[list[Span], Counter[str]]:
        spans: list[Span] = []
        refused = Counter[str]()
        try:
            for each in _READ[media_type](body, self._clock_ns()):
                if isinstance(each, Span):
                    spans.append(each)
                else:
                    refused[str(each)] += 1
        except UnreadableRequestError as ex:
            raise RefusalError(400, f"body: {ex}") from None
        except TooManySpansError as ex:
            raise RefusalError(413, f"body: {ex}") from None
        return spans, refused

    def _keep(self, tenant: str, spans: list[Span]) -> Acceptance:
        if not spans:
            return Acceptance()
        try:
            with self._engine.begin() as conn:
                conn.execute(_HASTE)
                return accept(conn, tenant, spans)
        except (OperationalError, InterfaceError, PoolTimeoutError) as ex:
            self._failures.tell("spans not kept", ex, is_foreseen=True)
            message = "the database does not answer; nothing of this request was kept"
            raise RefusalError(503, message, retry_after_s=_RETRY_AFTER_S) from None
        except SQLAlchemyError as ex:
            is_away = sqlstate(ex) in _AWAY
            self._failures.tell("spans not kept", ex, is_foreseen=is_away)
            if is_away:
                message = "the database cannot keep spans at present; nothing of this request was kept"
                raise RefusalError(503, message, retry_after_s=_AWAY_RETRY_AFTER_S) from None
            raise RefusalError(500, "the spans could not be kept; the log names the cause") from None


def media_type_of(req: Request) -> str:
    """Return the media type of a request's body, without parameters."""
    return (req.content_type or "").partition(";")[0].strip().lower()


def clock_ns() -> int:
    """Return the present, in nanoseconds since 1970."""
    return time.time_ns()
