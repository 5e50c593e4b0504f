"""The document: every route, with its parameters, answers, errors and headers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from api.http.problems import MEDIA_TYPE
from api.openapi import console, examples, parameters
from api.openapi.schemas import SCHEMAS
from api.openapi.shapes import Schema, integer, moment, named, record, text
from snapshots.signal_catalogue import CATALOGUE

_PREFIX: Final = "/api/v1/activity"
_BEARER: Final[list[dict[str, list[str]]]] = [{"bearer": []}]
_BEARER_OR_SESSION: Final[list[dict[str, list[str]]]] = [*_BEARER, {"session": []}]

#: The answers that are errors, by status, each with its codes.
ERRORS: Final[dict[int, tuple[str, ...]]] = {
    400: (
        "bad_request",
        "invalid_body",
        "invalid_dimension",
        "invalid_header",
        "invalid_parameter",
        "tenant_id_rejected",
        "unknown_parameter",
    ),
    401: ("unauthorized",),
    403: ("capability_missing", "cross_site_request"),
    404: ("item_not_found", "not_found", "run_not_found", "snapshot_not_kept"),
    405: ("method_not_allowed",),
    409: ("idempotency_key_reused",),
    410: ("cursor_expired",),
    413: ("body_too_large",),
    414: ("query_too_long",),
    415: ("unsupported_media_type",),
    429: ("rate_limited",),
    500: ("internal_error",),
    503: (
        "database_unavailable",
        "isolation_not_enforced",
        "overloaded",
        "query_timeout",
        "schema_mismatch",
        "snapshot_not_ready",
        "triage_unavailable",
        "visibility_not_proven",
    ),
}
_ANYWHERE: Final = (405, 413, 414, 500, 503)
_ANY_KEY: Final = (400, 401, 429, *_ANYWHERE)
_WITH_KEY: Final = (*_ANY_KEY, 403)

_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {"description": "Names the request in the log.", "schema": text()},
    "ETag": {"description": "Names the content; weak.", "schema": text()},
    "Snapshot-As-Of": {"description": "snapshot.as_of", "schema": moment()},
    "Snapshot-Verified-At": {"description": "snapshot.verified_at", "schema": moment()},
    "Snapshot-Stale": {"description": "?1 once snapshot.stale_after has passed.", "schema": text(enum=["?0", "?1"])},
    "Retry-After": {"description": "Seconds.", "schema": integer(minimum=1)},
}
_SNAPSHOT_HEADERS: Final = ("ETag", "Snapshot-As-Of", "Snapshot-Verified-At", "Snapshot-Stale")


@dataclass(frozen=True, slots=True)
class Operation:
    """A GET route under the prefix, as the document describes it."""

    path: str
    name: str
    summary: str
    body: str
    capability: str | None
    parameters: tuple[dict[str, Any], ...] = ()
    is_snapshot: bool = False
    errors: tuple[int, ...] = _WITH_KEY

    def describe(self) -> dict[str, Any]:
        """Return the operation object."""
        needs = f"Needs the capability `{self.capability}`." if self.capability else "Any valid credential may ask."
        return {
            "operationId": self.name,
            "summary": self.summary,
            "description": needs,
            "parameters": list(self.parameters),
            "responses": {**self._answers(), **_errors(self.errors)},
        }

    def _answers(self) -> dict[str, Any]:
        content = {"schema": named(self.body), "example": examples.BODIES[self.body]}
        headers = _SNAPSHOT_HEADERS if self.is_snapshot else ()
        answers = {"200": _answer("The answer.", {"application/json": content}, headers)}
        if self.is_snapshot:
            answers["304"] = _answer("The client holds this content already.", {}, headers)
        return answers


_AS_OF: Final = (parameters.SNOOZED, parameters.AS_OF)
_KEPT: Final = (*_WITH_KEY, 404)

OPERATIONS: Final = (
    *(
        Operation(
            definition.route,
            definition.operation,
            f"{definition.title}.",
            definition.body,
            definition.capability,
            (parameters.QUEUE_LIMIT, *_AS_OF) if definition.takes_limit else _AS_OF,
            is_snapshot=True,
            errors=_KEPT,
        )
        for definition in CATALOGUE.values()
    ),
    Operation(
        "/signals",
        "listSignals",
        "The signals that the credential may read: route, items, columns, thresholds and explanations.",
        "SignalList",
        None,
        errors=_ANY_KEY,
    ),
    Operation(
        "/freshness",
        "getFreshness",
        "How old each signal is.",
        "Freshness",
        None,
        errors=_ANY_KEY,
    ),
    Operation(
        "/changes",
        "listChanges",
        "What entered, left, rose, fell and worsened, in order and each change once.",
        "ChangeList",
        "activity.changes",
        parameters.CHANGES,
        errors=(*_WITH_KEY, 410),
    ),
    Operation(
        "/history",
        "getHistory",
        "The series of one item: a point per change.",
        "History",
        "activity.changes",
        parameters.HISTORY,
        errors=_KEPT,
    ),
    Operation(
        "/triage",
        "getTriage",
        "What was said of one item, the newest first.",
        "TriageHistory",
        "activity.triage",
        parameters.TRIAGE,
        errors=_KEPT,
    ),
    Operation(
        "/explain/{fingerprint}",
        "explainItem",
        "Why an item is there: inputs, thresholds, arithmetic, evidence, and what the source says now.",
        "Explanation",
        "activity.explain",
        parameters.EXPLAIN,
        errors=_KEPT,
    ),
    Operation(
        "/summary/by-status",
        "getStatusSummary",
        "COMPLETED runs by status.",
        "StatusSummary",
        "activity.summary_by_status",
        parameters.BY_STATUS,
    ),
    Operation(
        "/runs/by-dimension",
        "getRunsByDimension",
        "Runs by a dimension.",
        "DimensionCounts",
        "activity.runs_by_dimension",
        parameters.BY_DIMENSION,
    ),
    Operation("/runs", "listRuns", "Runs, a page at a time.", "RunList", "activity.threshold_signals", parameters.RUNS),
    Operation(
        "/runs/{run_id}",
        "getRun",
        "One run: its traces, its steps, and the signals that it appears in.",
        "RunDetail",
        "activity.threshold_signals",
        parameters.RUN,
        errors=_KEPT,
    ),
)


def document(*, with_metrics: bool = True, with_console: bool = True) -> dict[str, Any]:
    """Return the OpenAPI document of a deployment that serves /metrics and the console, or goes without."""
    credentials = _BEARER_OR_SESSION if with_console else _BEARER
    paths = {_PREFIX + each.path: {"get": each.describe() | {"security": credentials}} for each in OPERATIONS}
    paths[f"{_PREFIX}/triage"]["post"] = _decide() | {"security": credentials}
    service = {path: item for path, item in _service().items() if with_metrics or path != "/metrics"}
    if with_console:
        service |= console.paths(_answer, _errors)
        service["/"]["get"]["responses"]["302"] = _answer("A browser is sent to /console/.", {})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Activity Signals",
            "version": version("activity-signals"),
            "description": "Precomputed pattern, cost and attention signals of one tenant, named by the credential.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {**paths, **service},
        "components": {
            "schemas": SCHEMAS,
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a JSON web token."},
                **({"session": console.SCHEME} if with_console else {}),
            },
        },
    }


def as_bytes(*, with_metrics: bool = True, with_console: bool = True) -> bytes:
    """Return the document as JSON."""
    described = document(with_metrics=with_metrics, with_console=with_console)
    return json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()


def _decide() -> dict[str, Any]:
    """Return the one operation that writes."""
    decision = {"schema": named("Decision"), "example": examples.BODIES["Decision"]}
    decided = {"schema": named("Decided"), "example": examples.BODIES["Decided"]}
    return {
        "operationId": "decideTriage",
        "summary": "Acknowledge, snooze, expect or reopen an item, for the whole tenant.",
        "description": "Needs the capability `activity.triage`.",
        "parameters": [parameters.IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {"application/json": decision}},
        "responses": {
            "201": _answer("It is written down.", {"application/json": decided}),
            **_errors((*_WITH_KEY, 404, 409, 415)),
        },
    }


def _service() -> dict[str, Any]:
    """Return the paths that need no credential."""
    alive = record({"status": text()})
    ready = record({"status": text(), "schema_revision": text()})
    anything = {"type": "object"}
    return {
        "/": _open("getStart", "The endpoints there are.", "text/plain", text()),
        "/livez": _open("getLivez", "This process lives.", "application/json", alive),
        "/readyz": _open("getReadyz", "This process can serve.", "application/json", ready),
        "/metrics": _open("getMetrics", "Numbers for Prometheus.", "text/plain", text()),
        "/openapi.json": _open("getOpenapi", "This document.", "application/json", anything),
    }


def _open(name: str, summary: str, media_type: str, schema: Schema) -> dict[str, Any]:
    answer = _answer("The answer.", {media_type: {"schema": schema}})
    responses = {"200": answer, **_errors(_ANYWHERE)}
    return {"get": {"operationId": name, "summary": summary, "security": [], "responses": responses}}


def _answer(description: str, content: dict[str, Any], headers: tuple[str, ...] = ()) -> dict[str, Any]:
    listed = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *headers)}
    return {"description": description, "headers": listed, **({"content": content} if content else {})}


def _errors(statuses: tuple[int, ...]) -> dict[str, Any]:
    return {str(status): _error(status) for status in sorted(statuses)}


def _error(status: int) -> dict[str, Any]:
    codes = ", ".join(f"`{code}`" for code in ERRORS[status])
    content = {MEDIA_TYPE: {"schema": named("Problem"), "example": examples.problem(status, ERRORS[status][0])}}
    return _answer(f"error: {codes}", content, ("Retry-After",) if status in {429, 503} else ())
