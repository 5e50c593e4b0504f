"""The console's session, and its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from api.auth.session import COOKIE, CREDENTIAL_PATTERN, HOST_COOKIE, MAX_CREDENTIAL_CHARS, PROOF_HEADER
from api.openapi import examples
from api.openapi.shapes import Schema, array, moment, named, nullable, record, text

if TYPE_CHECKING:
    from collections.abc import Callable

    #: Makes an answer of a description, content by media type, and names of headers.
    Answer = Callable[[str, dict[str, Any], tuple[str, ...]], dict[str, Any]]
    #: Makes the answers that are errors, of their statuses.
    Errors = Callable[[tuple[int, ...]], dict[str, Any]]

SESSION: Final = record(
    {
        "tenant_id": text(),
        "capabilities": array(text()),
        "valid_until": nullable(moment("null for a credential without an end.")),
    }
)
SCHEME: Final = {
    "type": "apiKey",
    "in": "cookie",
    "name": HOST_COOKIE,
    "description": f"A credential, kept by a session; `{COOKIE}` over plain HTTP on the browser's own machine.",
}

_PROOF: Final = {
    "name": PROOF_HEADER,
    "in": "header",
    "description": "Any value; required where a cookie is the credential.",
    "schema": text(),
}
_LOGIN: Final[Schema] = record(
    {"api_key": text("A key or a token.", pattern=f"^{CREDENTIAL_PATTERN}$", maxLength=MAX_CREDENTIAL_CHARS)}
)
_ANYWHERE: Final = (405, 413, 414, 500, 503)


def paths(answer: Answer, errors: Errors) -> dict[str, Any]:
    """Return the paths of the console."""
    return {"/api/v1/session": _session(answer, errors), **_files(answer, errors)}


def _session(answer: Answer, errors: Errors) -> dict[str, Any]:
    body = {"application/json": {"schema": named("Session"), "example": examples.BODIES["Session"]}}
    done = answer("Done; the response sets the cookie.", {}, ())
    any_credential: list[dict[str, list[str]]] = [{"bearer": []}, {"session": []}]
    return {
        "get": {
            "operationId": "getSession",
            "summary": "The tenant and the capabilities of the credential.",
            "security": any_credential,
            "responses": {"200": answer("The answer.", body, ()), **errors((400, 401, 429, *_ANYWHERE))},
        },
        "post": {
            "operationId": "beginSession",
            "summary": "Store a credential in a cookie that scripts cannot read.",
            "security": [],
            "requestBody": {"required": True, "content": {"application/json": {"schema": _LOGIN}}},
            "responses": {"204": done, **errors((400, 401, 403, 415, 429, *_ANYWHERE))},
        },
        "delete": {
            "operationId": "endSession",
            "summary": "Delete the cookie.",
            "security": [],
            "parameters": [_PROOF],
            "responses": {"204": done, **errors((400, 403, *_ANYWHERE))},
        },
    }


def _files(answer: Answer, errors: Errors) -> dict[str, Any]:
    moved = answer("Moved to /console/.", {}, ())
    kinds = ("text/html", "text/javascript", "text/css", "image/svg+xml")
    file = answer("The file.", {kind: {"schema": text()} for kind in kinds}, ("ETag",))
    name = {"name": "name", "in": "path", "required": True, "description": "A file.", "schema": text()}
    folder = {
        "operationId": "getConsoleFolder",
        "summary": "Redirect to /console/.",
        "security": [],
        "responses": {"308": moved, **errors(_ANYWHERE)},
    }
    files = {
        "operationId": "getConsole",
        "summary": "The console, and its files.",
        "security": [],
        "parameters": [name],
        "responses": {"200": file, "304": answer("The client holds this.", {}, ("ETag",)), **errors((404, *_ANYWHERE))},
    }
    return {"/console": {"get": folder}, "/console/{name}": {"get": files}}
