"""Falcon middleware: it bounds the query string and sends errors as problem documents."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from falcon import uri as falcon_uri

from api.http import problems
from api.http.context import REQUEST_ID, ROUTE
from api.http.problems import ProblemError
from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from falcon import Request, Response

MAX_QUERY_CHARS: Final = 8192

_SERVER_ERROR: Final = 500
_log = logging.getLogger(__name__)


class Envelope:
    """Bounds the query string of each request, and notes the route that it takes."""

    def process_request(self, req: Request, _resp: Response) -> None:
        """Refuse a query string that is too long, and a path that is another one to a proxy in front.

        Raises ProblemError (414, 404). The framework would route `//livez` as `/livez`.
        """
        if req.path.startswith("//"):
            raise problems.nothing_there()
        if len(req.query_string) > MAX_QUERY_CHARS:
            detail = f"The query string is too long; at most {MAX_QUERY_CHARS} characters are read."
            raise ProblemError(414, "query_too_long", detail)

    def process_resource(self, req: Request, _resp: Response, _resource: object, _params: dict[str, Any]) -> None:
        """Note the route, for metrics and the log."""
        req.env[ROUTE] = req.uri_template


def send_problem(req: Request, resp: Response, ex: Exception, _params: dict[str, Any]) -> None:
    """Answer `ex` as a problem document; what is ours to mend goes to the log too."""
    problem = problems.of(ex)
    if problem.status >= _SERVER_ERROR:
        _report(req, problem, ex)
    resp.status = problem.status
    resp.content_type = problems.MEDIA_TYPE
    resp.data = problem.document(falcon_uri.encode(req.path))
    resp.set_header("Cache-Control", "no-store")
    resp.set_headers(problem.headers)


def _report(req: Request, problem: ProblemError, ex: Exception) -> None:
    """Log `ex`: with its traceback when nobody foresaw it, else its kind alone, since drivers quote what they got.

    What we say ourselves quotes nothing.
    """
    where = {"request_id": req.env.get(REQUEST_ID), "method": req.method, "path": req.path}
    if problem.error == "internal_error":
        _log.error(problem.error, exc_info=ex, extra=where)
    elif problem is not ex:
        cause = str(ex) if isinstance(ex, ActivityError) else type(ex).__name__
        _log.warning(problem.error, extra={**where, "cause": cause})
