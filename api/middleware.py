"""What every response carries, and how errors leave: a request id, safe headers, problem documents."""

from __future__ import annotations

import logging
import re
import uuid
from typing import TYPE_CHECKING, Any, Final

from api import problems
from api.problems import ProblemError

if TYPE_CHECKING:
    from falcon import Request, Response

MAX_QUERY_CHARS: Final = 8192

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SERVER_ERROR: Final = 500
_log = logging.getLogger(__name__)


class Envelope:
    """Names each request, bounds its query string, and sets the headers that all responses share."""

    def process_request(self, req: Request, _resp: Response) -> None:
        """Take the caller's request id when it is harmless in a log, else make one."""
        given = req.get_header("X-Request-Id") or ""
        req.context.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        if len(req.query_string) > MAX_QUERY_CHARS:
            detail = f"The query string is too long; at most {MAX_QUERY_CHARS} characters are read."
            raise ProblemError(414, "query_too_long", detail)

    def process_response(self, req: Request, resp: Response, _resource: object, _succeeded: bool) -> None:  # noqa: FBT001  # Falcon fixes the arguments
        """Set the headers."""
        resp.set_header("X-Request-Id", req.context.request_id)
        resp.set_header("X-Content-Type-Options", "nosniff")


def send_problem(req: Request, resp: Response, ex: Exception, _params: dict[str, Any]) -> None:
    """Answer `ex` as a problem document; what is ours to mend goes to the log too."""
    problem = problems.of(ex)
    if problem.status >= _SERVER_ERROR:
        _report(req, problem, ex)
    resp.status = problem.status
    resp.content_type = problems.MEDIA_TYPE
    resp.data = problem.document(req.path)
    resp.set_header("Cache-Control", "no-store")
    resp.set_headers(problem.headers)


def _report(req: Request, problem: ProblemError, ex: Exception) -> None:
    """Log `ex`: with its traceback when nobody foresaw it, else its kind alone, since drivers quote what they got."""
    where = (problem.error, req.method, req.path, req.context.request_id)
    if problem.error == "internal_error":
        _log.error("%s: %s %s request_id=%s", *where, exc_info=ex)
    elif problem is not ex:
        _log.warning("%s: %s %s request_id=%s cause=%s", *where, type(ex).__name__)
