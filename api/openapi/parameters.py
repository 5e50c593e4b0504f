"""The parameters of the read layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from api.http.cursor import MAX_CURSOR_CHARS
from api.http.parameters import MAX_VALUE_CHARS
from api.openapi.shapes import Schema, array, integer, moment, one_of, text
from api.queries import changes, run_detail, runs, summaries
from api.resources.snapshots import MAX_LIMIT as MAX_QUEUE_LIMIT
from api.resources.snapshots import SNOOZED as SNOOZED_CHOICES
from snapshots.body import DEFAULT_LIMIT as DEFAULT_QUEUE_LIMIT
from snapshots.signals import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A value that has no NUL: PostgreSQL holds none.
_VALUE: Final = text(pattern=r"^[^\u0000]+$", minLength=1, maxLength=MAX_VALUE_CHARS)
#: A cursor's letters are those of base64url.
_CURSOR: Final = text(pattern=r"^[A-Za-z0-9_-]+$", minLength=1, maxLength=MAX_CURSOR_CHARS)


def query(name: str, schema: Schema, description: str, *, required: bool = False) -> dict[str, Any]:
    """Return a parameter of the query string."""
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}


def _limit(default: int, maximum: int) -> dict[str, Any]:
    schema = {**integer(minimum=1), "maximum": maximum, "default": default}
    return query("limit", schema, "Items of the answer at most.")


def _instant(name: str, description: str) -> dict[str, Any]:
    return query(name, moment(), f"{description} RFC 3339 with a zone.")


def _choices(name: str, known: tuple[str, ...]) -> dict[str, Any]:
    schema = one_of(known) if known else _VALUE
    return query(name, array(schema, minItems=1), "Repeatable: any of the values.") | {"style": "form", "explode": True}


_FINGERPRINT: Final = text(pattern="^[0-9a-f]{32}$")

AS_OF: Final = _instant("as_of", "Answer with the kept version of this instant, which is not in the future.")
SNOOZED: Final = query(
    "snoozed", one_of(SNOOZED_CHOICES) | {"default": "show"}, "`hide` takes snoozed items out before the limit."
)
QUEUE_LIMIT: Final = _limit(DEFAULT_QUEUE_LIMIT, MAX_QUEUE_LIMIT)
_PROJECT: Final = query("project_id", _VALUE, "Only the runs of this project.")
_BOUNDS: Final[Mapping[str, str]] = {
    "started_after": "Runs that started then or later.",
    "started_before": "Runs that started then or earlier.",
    "completed_after": "Runs that ended then or later.",
    "completed_before": "Runs that ended then or earlier.",
}

BY_STATUS: Final = (
    _PROJECT,
    *(_instant(name, _BOUNDS[name]) for name in ("started_after", "started_before")),
)
BY_DIMENSION: Final = (
    query("dim", one_of(sorted(summaries.ALLOWED_DIMENSIONS)), "The dimension.", required=True),
    query("state", one_of(summaries.STATES) | {"default": "LIVE"}, "The runs that are counted."),
    _PROJECT,
)
RUN_ID: Final = {
    "name": "run_id",
    "in": "path",
    "required": True,
    "description": "The run. Slashes in it are sent as they are or as %2F.",
    "schema": _VALUE,
}
RUN: Final = (
    RUN_ID,
    _limit(run_detail.DEFAULT_LIMIT, run_detail.MAX_LIMIT),
    query("cursor", _CURSOR, "The next_cursor of the page before."),
)
RUNS: Final = (
    query("state", one_of(summaries.STATES), "Only runs in this state."),
    _PROJECT,
    query("is_synthetic", one_of(("true", "false")), "Only synthetic runs, or only others."),
    *(_choices(name, known) for name, known in runs.REPEATABLE.items()),
    *(_instant(name, description) for name, description in _BOUNDS.items()),
    query("sort", one_of(runs.SORTS) | {"default": runs.SORTS[0]}, "What orders the runs; those without it are last."),
    query("order", one_of(runs.ORDERS) | {"default": runs.ORDERS[0]}, "The direction."),
    _limit(runs.DEFAULT_LIMIT, runs.MAX_LIMIT),
    query("cursor", _CURSOR, "The next_cursor of the page before."),
)
EXPLAIN: Final = (
    {
        "name": "fingerprint",
        "in": "path",
        "required": True,
        "description": "The item.",
        "schema": _FINGERPRINT,
    },
)
TRIAGE: Final = (query("fingerprint", _FINGERPRINT, "The item.", required=True),)
IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names the request: sent again under the same name it is written once, and answered alike.",
    "schema": text(pattern="^[!-~]{1,128}$"),
}
CHANGES: Final = (
    query("since", _CURSOR | {"maxLength": changes.MAX_CURSOR_CHARS}, "A cursor: only changes after it."),
    query(
        "before",
        _CURSOR | {"maxLength": changes.MAX_CURSOR_CHARS},
        "A cursor, or `now`: only changes before it, the newest first; not with `since`.",
    ),
    _limit(changes.DEFAULT_LIMIT, changes.MAX_LIMIT),
)
HISTORY: Final = (
    query("signal", one_of(SIGNALS), "The signal.", required=True),
    query("key", _FINGERPRINT, "The item's fingerprint.", required=True),
    _instant("since", "Points of then or later, a day when absent; not in the future."),
)
