"""The WSGI application of the receiver, built from what it needs; `ingest.otlp.asgi` builds it from its settings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import falcon
from sqlalchemy.exc import SQLAlchemyError

from api.app import Surroundings
from api.auth.credentials import gate_of
from api.http.metrics import CONTENT_TYPE
from ingest.otlp import answers
from ingest.otlp.answers import JSON, PROTOBUF, RefusalError
from ingest.otlp.metrics import Waiting
from ingest.otlp.readiness import obstacle
from ingest.otlp.traces import Traces, clock_ns, media_type_of
from snapshots.errors import ActivityError, DatabaseUnavailableError, VisibilityError

if TYPE_CHECKING:
    from falcon import Request, Response
    from sqlalchemy import Engine

    from api.app import Application
    from ingest.otlp.metrics import Metrics
    from snapshots.settings import Settings

PATH: Final = "/v1/traces"
_log = logging.getLogger(__name__)


def create_app(
    engine: Engine, authenticator: Engine, settings: Settings, metrics: Metrics, around: Surroundings | None = None
) -> Application:
    """Return the application. `engine` is one of the ingest role, `authenticator` of the one that looks up keys."""
    around = around or Surroundings()
    app = falcon.App(middleware=[_Count(metrics)])
    app.add_error_handler(Exception, _refuse)
    app.add_error_handler(falcon.HTTPError, _refuse)
    gate = gate_of(authenticator, settings, around)
    app.add_route(PATH, Traces(gate, engine, metrics, settings, clock_ns))
    app.add_route("/livez", Livez())
    app.add_route("/readyz", Readyz(engine, around.schema_revision))
    if settings.metrics:
        app.add_route("/metrics", Numbers(metrics, Waiting(engine, around.schema_revision)))
    return app


class Livez:
    """GET /livez: this process answers."""

    def on_get(self, _req: Request, resp: Response) -> None:
        """Say so."""
        resp.media = {"status": "alive"}


class Readyz:
    """GET /readyz: the database answers the ingest role at our revision, and it may write the host's tables."""

    def __init__(self, engine: Engine, revision: str) -> None:
        """Take the revision that the database must be at."""
        self._engine = engine
        self._needed = revision

    def on_get(self, _req: Request, resp: Response) -> None:
        """Say so. Raises RefusalError (503)."""
        try:
            found = obstacle(self._engine, self._needed)
        except SQLAlchemyError:
            raise RefusalError(503, "the database does not answer", retry_after_s=2) from None
        if found is not None:
            raise RefusalError(503, found)
        resp.media = {"status": "ready", "schema_revision": self._needed}


class Numbers:
    """GET /metrics: the numbers of this installation's receivers, for Prometheus."""

    def __init__(self, metrics: Metrics, waiting: Waiting) -> None:
        """Take the numbers kept, and those that are read when asked."""
        self._metrics = metrics
        self._waiting = waiting

    def on_get(self, _req: Request, resp: Response) -> None:
        """Send them."""
        resp.content_type = CONTENT_TYPE
        resp.data = self._metrics.exposition(self._waiting)


class _Count:
    """Counts requests for spans by the status of their answer."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def process_response(self, req: Request, resp: Response, _resource: object, _succeeded: object) -> None:
        """Count one."""
        if req.path == PATH:
            self._metrics.answered(resp.status_code)


def _refuse(req: Request, resp: Response, ex: Exception, _params: dict[str, Any]) -> None:
    """Answer an error as google.rpc.Status, in the encoding of the request; what nobody foresaw goes to the log."""
    known = _known(ex)
    media_type = PROTOBUF if media_type_of(req) == PROTOBUF else JSON
    resp.status = falcon.code_to_http_status(known.status)
    resp.content_type = media_type
    resp.data = answers.refusal(known, media_type)
    resp.set_headers(known.headers)


def _known(ex: Exception) -> RefusalError:
    if isinstance(ex, RefusalError):
        return ex
    if isinstance(ex, falcon.HTTPError):
        return RefusalError(ex.status_code, ex.title or "refused", headers=dict(ex.headers or {}))
    if isinstance(ex, VisibilityError):
        _log.warning("rows could be hidden", extra={"cause": str(ex)})
        return RefusalError(503, "the database may hide rows from the receiver; its log says which", retry_after_s=30)
    if isinstance(ex, (SQLAlchemyError, DatabaseUnavailableError)):
        return RefusalError(503, "the database does not answer", retry_after_s=2)
    _log.error("internal error", exc_info=None if isinstance(ex, ActivityError) else ex)
    return RefusalError(500, "the request failed here; the log names the cause")
