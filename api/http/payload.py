"""The JSON object in the body of a request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from api.http.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from falcon import Request


def members(req: Request, allowed: Collection[str]) -> dict[str, Any]:
    """Return the members of the object in the body.

    Raises ProblemError: 415 for another media type than JSON, 400 for what is no JSON object, a member that is there
    twice, and one that is not `allowed`. The body is never quoted, but for the name of that member.
    """
    if (req.content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise ProblemError(415, "unsupported_media_type", "The body must be JSON: Content-Type: application/json")
    try:
        found = json.loads(req.bounded_stream.read(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise invalid_member("body", "a JSON object, each member once")
    for name in found:
        if name not in allowed:
            raise invalid_member(_shown(name), "no member of this name")
    return found


def invalid_member(name: str, expected: str) -> ProblemError:
    """Return the 400 for a member of the body; its value is not repeated."""
    return ProblemError(400, "invalid_body", f"{name}: expected {expected}", member=name, expected=expected)


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:64])


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _no_number(name: str) -> object:
    raise ValueError(name)
