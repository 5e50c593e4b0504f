"""Problem documents (RFC 9457): the one shape of every error, and the one place that maps errors to it.

Source: docs/specification-notes.md#problem-documents.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from falcon import HTTPError
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from api.auth.isolation import IsolationError
from snapshots.errors import (
    NOT_THERE,
    ActivityError,
    DatabaseUnavailableError,
    SchemaMismatchError,
    VisibilityError,
    sqlstate,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE: Final = "application/problem+json"

#: Seconds after which a client may try again, by error code.
RETRY_AFTER_S: Final = {
    "database_unavailable": 2,
    "isolation_not_enforced": 30,
    "overloaded": 1,
    "query_timeout": 5,
    "schema_mismatch": 5,
    "snapshot_not_ready": 5,
    "visibility_not_proven": 30,
}

_QUERY_CANCELED: Final = "57014"
_INSUFFICIENT_PRIVILEGE: Final = "42501"


class ProblemError(ActivityError):
    """An error as the client reads it: status, stable code, one sentence, and members of its own."""

    def __init__(
        self, status: int, error: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        """Take the HTTP status, the stable code and a sentence that says what to do; `members` extend the document."""
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.error = error
        self.detail = detail
        self.members = members
        self.headers = dict(headers or {})
        if error in RETRY_AFTER_S:
            self.headers["Retry-After"] = str(RETRY_AFTER_S[error])

    def document(self, instance: str) -> bytes:
        """Return the document; `instance` is the path of the request that failed."""
        members = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            "instance": instance,
            "error": self.error,
        }
        return json.dumps(members | self.members, ensure_ascii=False).encode()


def of(ex: Exception) -> ProblemError:
    """Return the problem that `ex` is; what nobody foresaw is a 500 without details."""
    if isinstance(ex, ProblemError):
        return ex
    if isinstance(ex, HTTPError):
        return _of_falcon(ex)
    if isinstance(ex, SQLAlchemyError):
        return _of_database(ex)
    return _of_ours(ex)


def invalid_parameter(name: str, expected: str) -> ProblemError:
    """Return the 400 for a value of the parameter `name`; the value itself is not repeated."""
    return ProblemError(400, "invalid_parameter", f"{name}: expected {expected}", parameter=name, expected=expected)


def nothing_there(headers: Mapping[str, str] | None = None) -> ProblemError:
    """Return the 404 for a path without an endpoint."""
    return ProblemError(404, "not_found", "There is nothing at this path; GET / names the endpoints.", headers=headers)


def _of_ours(ex: Exception) -> ProblemError:
    if isinstance(ex, DatabaseUnavailableError):
        return _unavailable()
    if isinstance(ex, SchemaMismatchError):
        return ProblemError(503, "schema_mismatch", str(ex))
    if isinstance(ex, IsolationError):
        detail = "The database role of this service could see every tenant's rows; its log says how."
        return ProblemError(503, "isolation_not_enforced", detail)
    if isinstance(ex, VisibilityError):
        return _unproven()
    return _internal()


def _of_falcon(ex: HTTPError) -> ProblemError:
    status = HTTPStatus(ex.status_code)
    headers = dict(ex.headers or {})
    if status is HTTPStatus.NOT_FOUND:
        return nothing_there(headers)
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = headers.get("Allow", "GET")
        return ProblemError(405, "method_not_allowed", f"This path answers {allowed}.", headers=headers)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _internal()
    return ProblemError(status, "bad_request", ex.description or status.description, headers=headers)


def _of_database(ex: SQLAlchemyError) -> ProblemError:
    code = sqlstate(ex)
    if code == _QUERY_CANCELED:
        return ProblemError(503, "query_timeout", "The query took longer than this service allows; narrow its filters.")
    if code in NOT_THERE:
        return ProblemError(503, "schema_mismatch", "The database is not at the revision that this version needs.")
    if code == _INSUFFICIENT_PRIVILEGE:
        return _unproven()
    if isinstance(ex, OperationalError | InterfaceError | PoolTimeoutError):
        return _unavailable()
    return _internal()


def _unproven() -> ProblemError:
    detail = "The database may hide rows from this service, so that it cannot tell what there is; its log says why."
    return ProblemError(503, "visibility_not_proven", detail)


def _unavailable() -> ProblemError:
    return ProblemError(503, "database_unavailable", "The database does not answer; try again shortly.")


def _internal() -> ProblemError:
    return ProblemError(
        500, "internal_error", "The request failed here; the log names the cause under its X-Request-Id."
    )
