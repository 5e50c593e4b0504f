"""Evaluation of `If-None-Match` (RFC 9110, 13.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from falcon import Request


def is_held(req: Request, etag: str) -> bool:
    """Say whether the client names `etag` among those that it holds; compared weakly (RFC 9110, 13.1.2)."""
    return any(held in {"*", etag} for held in req.if_none_match or ())
