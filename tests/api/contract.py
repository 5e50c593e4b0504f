"""The wire contract of errors, said once.

Every error is an RFC 9457 problem document: `application/problem+json`, with type, title, status, detail, instance and
the stable code `error`; nobody may keep it; it tells nothing about the inside.
Source: docs/specification-notes.md#problem-documents.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from falcon.testing import Result

#: What no error may ever quote.
INSIDE = (
    "Traceback",
    "psycopg2",
    "sqlalchemy",
    "select ",
    "SELECT ",
    "tenant_run",
    "api_key",
    "public.runs",
    "password",
)


def assert_problem(result: Result, status: int, error: str) -> dict[str, Any]:
    """Hold `result` against the contract and return the document."""
    document: dict[str, Any] = result.json
    assert (result.status_code, document["error"]) == (status, error)
    assert result.headers["content-type"] == "application/problem+json"
    assert result.headers["cache-control"] == "no-store"
    assert result.headers["x-content-type-options"] == "nosniff"
    assert document["type"] == "about:blank"
    assert document["status"] == status
    assert document["title"] == HTTPStatus(status).phrase
    assert document["instance"].startswith("/")
    assert "?" not in document["instance"]
    assert isinstance(document["detail"], str)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", document["error"])
    assert not any(word in result.text for word in INSIDE)
    return document
