"""The JSON object in the body of a request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from api.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Collection

    from falcon import Request


def members(req: Request, allowed: Collection[str]) -> dict[str, Any]:
    """Return the members of the object in the body.

    Raises ProblemError: 415 for another media type than JSON, 400 for what is no JSON object, and for a member that is
    not `allowed`. The body is never quoted.
    """
    if (req.content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise ProblemError(415, "unsupported_media_type", "The body must be JSON: Content-Type: application/json")
    try:
        found = json.loads(req.bounded_stream.read())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ProblemError(400, "invalid_body", "The body is not a JSON object.")
    if not found.keys() <= set(allowed):
        raise ProblemError(400, "invalid_body", "The body has a member that this endpoint does not take.")
    return found
