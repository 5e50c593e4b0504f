"""OTLP/HTTP receiver: an ASGI application that stores spans before it answers.

The event loop receives bodies, so that a slow sender holds no thread. Authentication, parsing and the database run in
threads. `ops.receiver` builds the application from the settings.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import falcon
import falcon.asgi
from psycopg2.errorcodes import INVALID_SCHEMA_NAME, READ_ONLY_SQL_TRANSACTION, UNDEFINED_TABLE
from sqlalchemy import func, select
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ingest.assembly.span_buffer import Acceptance, accept
from ingest.failures import Failures
from ingest.health import CONTENT_TYPE, PendingSpans, obstacle
from ingest.otlp import answers, decoding
from ingest.otlp.answers import JSON, PROTOBUF, RefusalError
from ingest.otlp.body import ENCODINGS, RequestBody, decompress
from ingest.otlp.decoding import TooManySpansError, UnreadableRequestError
from ingest.spans import Span
from snapshots.errors import ActivityError, DatabaseUnavailableError, VisibilityError, sqlstate
from snapshots.signals import SCHEMA_REVISION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from falcon.asgi import Request, Response
    from sqlalchemy import Engine

    from ingest.health import Metrics
    from snapshots.settings import Settings

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

PATH: Final = "/v1/traces"
_MEBIBYTE: Final = 1024 * 1024
#: Bodies larger than this are parsed one at a time: the parsed form takes many times their size.
_HEAVY: Final = _MEBIBYTE
#: Bytes received and dropped of an authenticated sender's refused body, in multiples of the largest body.
_DISCARDED: Final = 8
#: Seconds that a request waits for its turn, and after which it may be sent again.
_PATIENCE_S: Final = 2.0
_RETRY_AFTER_S: Final = 2
_READ: Final = {PROTOBUF: decoding.read_protobuf, JSON: decoding.read_json}
#: statement_timeout of a request, seconds.
STATEMENT_TIMEOUT_S: Final = 15
#: Neither a lock nor a slow disk holds up a sender for longer.
_TIMEOUTS: Final = select(
    func.set_config("lock_timeout", "5s", True),  # noqa: FBT003  # local to the transaction
    func.set_config("statement_timeout", f"{STATEMENT_TIMEOUT_S}s", True),  # noqa: FBT003  # local to the transaction
)
#: SQLSTATEs of a detached or replaced schema, and of a standby that has not been promoted yet: they pass.
_AWAY: Final = {UNDEFINED_TABLE, INVALID_SCHEMA_NAME, READ_ONLY_SQL_TRANSACTION}
_AWAY_RETRY_AFTER_S: Final = 10
#: Key of the request's RequestBody in the ASGI scope.
_BODY: Final = "activity.body"
_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Authenticator(Protocol):
    """Authentication of a sender, run in a thread."""

    def __call__(self, req: Request) -> str:
        """Return the tenant of the request's credential. Raises RefusalError: 401 or 403."""


def create_app(authenticate: Authenticator, engine: Engine, settings: Settings, metrics: Metrics) -> ReceiverApp:
    """Return the application; `engine` is one of the ingest role."""
    # Half of the threads work on spans; the others authenticate and answer probes meanwhile.
    threads = ThreadPoolExecutor(2 * settings.ingest_threads, thread_name_prefix="receive")
    app = ReceiverApp(metrics, settings.ingest_body_timeout_s)
    app.add_route(PATH, Traces(authenticate, engine, metrics, settings, threads))
    app.add_route("/livez", Livez())
    app.add_route("/readyz", Readyz(engine, threads))
    if settings.metrics:
        app.add_route("/metrics", Exposition(metrics, PendingSpans(engine, SCHEMA_REVISION), threads))
    return app


class ReceiverApp(falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]):
    """Falcon application that reads a body only where a resource asks for it, and closes on what it did not read."""

    def __init__(self, metrics: Metrics, body_timeout_s: float) -> None:
        """Count answers in `metrics`; the whole body of a request has `body_timeout_s` seconds to arrive."""
        super().__init__(middleware=[_AfterAnswer(metrics)])
        self._body_timeout_s = body_timeout_s
        self.add_error_handler(Exception, _refuse)
        self.add_error_handler(falcon.HTTPError, _refuse)

    async def __call__(  # type: ignore[override]  # as in falcon.asgi.App
        self, scope: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answer one request. Falcon itself would wait for the first part of a body, without a deadline."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return

        async def nothing() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        await super().__call__({**scope, _BODY: RequestBody(receive, self._body_timeout_s)}, nothing, send)


class Traces:
    """POST /v1/traces: the spans of a request, stored for the credential's tenant before the answer."""

    def __init__(
        self,
        authenticate: Authenticator,
        engine: Engine,
        metrics: Metrics,
        settings: Settings,
        threads: ThreadPoolExecutor,
    ) -> None:
        """Work on as many requests at a time as the settings allow, in `threads`."""
        self._authenticate = authenticate
        self._engine = engine
        self._metrics = metrics
        self._threads = threads
        self._failures = Failures(_log)
        self._limit = settings.ingest_max_body_mb * _MEBIBYTE
        self._turns = asyncio.Semaphore(settings.ingest_threads)
        self._heavy = Lock()

    async def on_post(self, req: Request, resp: Response) -> None:
        """Store the spans of a request. Raises RefusalError; a stranger is refused before its body is read."""
        body: RequestBody = req.scope[_BODY]
        tenant = await _in_thread(self._threads, lambda: self._authenticate(req))
        body.discarded = _DISCARDED * self._limit
        media_type = _media_type_of(req)
        if media_type not in _READ:
            raise RefusalError(415, f"Content-Type: expected {PROTOBUF} or {JSON}")
        encoding = (req.get_header("Content-Encoding") or "").strip().lower()
        if encoding not in ENCODINGS:
            raise RefusalError(415, "Content-Encoding: expected gzip or none")
        async with self._turn():
            content = await body.read(req.get_header("Content-Length") or "", self._limit)
            refused = await _in_thread(self._threads, lambda: self._store(tenant, media_type, encoding, content))
        resp.content_type = media_type
        resp.data = answers.success(refused, media_type)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._turns.acquire()
        except TimeoutError:
            raise RefusalError(503, "too many requests are being read", retry_after_s=_RETRY_AFTER_S) from None
        try:
            yield
        finally:
            self._turns.release()

    def _store(self, tenant: str, media_type: str, encoding: str, content: bytes) -> Counter[str]:
        """Store the spans of a body; return the reasons of those that are refused, with how many each."""
        if encoding == "gzip":
            content = decompress(content, self._limit)
        if len(content) <= _HEAVY:
            spans, refused = _parse(media_type, content)
        else:
            with self._heavy:
                spans, refused = _parse(media_type, content)
        done = self._keep(tenant, spans) if spans else Acceptance()
        refused += done.refused
        self._metrics.accepted(done, refused.total())
        return refused

    def _keep(self, tenant: str, spans: list[Span]) -> Acceptance:
        try:
            with self._engine.begin() as conn:
                conn.execute(_TIMEOUTS)
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


class Livez:
    """GET /livez: this process answers."""

    async def on_get(self, _req: Request, resp: Response) -> None:
        """Answer 200."""
        resp.media = {"status": "alive"}


class Readyz:
    """GET /readyz: the database answers the ingest role at our revision, and it may write the host's tables."""

    def __init__(self, engine: Engine, threads: ThreadPoolExecutor) -> None:
        """Ask through an engine of the ingest role, in `threads`."""
        self._engine = engine
        self._threads = threads

    async def on_get(self, _req: Request, resp: Response) -> None:
        """Answer 200. Raises RefusalError (503) naming what is missing."""
        try:
            found = await _in_thread(self._threads, lambda: obstacle(self._engine, SCHEMA_REVISION))
        except SQLAlchemyError:
            raise RefusalError(503, "the database does not answer", retry_after_s=2) from None
        if found is not None:
            raise RefusalError(503, found)
        resp.media = {"status": "ready", "schema_revision": SCHEMA_REVISION}


class Exposition:
    """GET /metrics: the metrics of this installation's receivers, for Prometheus."""

    def __init__(self, metrics: Metrics, pending: PendingSpans, threads: ThreadPoolExecutor) -> None:
        """Serve `metrics`, and those that `pending` reads from the database at each scrape."""
        self._metrics = metrics
        self._pending = pending
        self._threads = threads

    async def on_get(self, _req: Request, resp: Response) -> None:
        """Answer 200 with the text format."""
        resp.content_type = CONTENT_TYPE
        resp.data = await _in_thread(self._threads, lambda: self._metrics.exposition(self._pending))


class _AfterAnswer:
    """Middleware that counts answers, and drops the rest of a body before the answer is sent."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def process_response(self, req: Request, resp: Response, _resource: object, _succeeded: object) -> None:
        """Count the answer; close the connection where some of the body was not received."""
        if req.path == PATH:
            self._metrics.answered(resp.status_code)
        body: RequestBody = req.scope[_BODY]
        await body.discard()
        if not body.is_over:
            resp.set_header("Connection", "close")


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _parse(media_type: str, content: bytes) -> tuple[list[Span], Counter[str]]:
    """Return the spans of a body, and the reasons of those that cannot be taken. Raises RefusalError: 400 or 413."""
    spans: list[Span] = []
    refused = Counter[str]()
    try:
        for each in _READ[media_type](content, time.time_ns()):
            if isinstance(each, Span):
                spans.append(each)
            else:
                refused[str(each)] += 1
    except UnreadableRequestError as ex:
        raise RefusalError(400, f"body: {ex}") from None
    except TooManySpansError as ex:
        raise RefusalError(413, f"body: {ex}") from None
    return spans, refused


def _media_type_of(req: Request) -> str:
    return (req.content_type or "").partition(";")[0].strip().lower()


async def _refuse(req: Request, resp: Response, ex: Exception, _params: dict[str, Any]) -> None:
    """Answer an error as google.rpc.Status in the request's encoding; log an unexpected one with its traceback."""
    if isinstance(ex, RefusalError):
        known = ex
    elif isinstance(ex, falcon.HTTPError):
        known = RefusalError(ex.status_code, ex.title or "refused", headers=dict(ex.headers or {}))
    elif isinstance(ex, VisibilityError):
        _log.warning("rows could be hidden", extra={"cause": str(ex)})
        known = RefusalError(503, "the database may hide rows from the receiver; its log says which", retry_after_s=30)
    elif isinstance(ex, (SQLAlchemyError, DatabaseUnavailableError)):
        known = RefusalError(503, "the database does not answer", retry_after_s=2)
    else:
        _log.error("internal error", exc_info=None if isinstance(ex, ActivityError) else ex)
        known = RefusalError(500, "the request failed here; the log names the cause")
    media_type = PROTOBUF if _media_type_of(req) == PROTOBUF else JSON
    resp.status = falcon.code_to_http_status(known.status)
    resp.content_type = media_type
    resp.data = answers.refusal(known, media_type)
    resp.set_headers(known.headers)
