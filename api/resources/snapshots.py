"""The snapshot endpoints: what the worker published, sent as stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import falcon

from api.endpoint import Endpoint
from snapshots.body import DEFAULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from falcon import Request, Response

    from api.authentication import Caller, Gate
    from api.parameters import Query
    from api.published import Snapshots

MAX_LIMIT: Final = 100
#: A shared cache may not keep it; the caller's may, as long as this process does.
_CACHE_CONTROL: Final = "private, max-age=1"


@dataclass(frozen=True, slots=True)
class Route:
    """A signal, the capability that it needs, and the parameters that it takes."""

    signal: str
    capability: str
    parameters: frozenset[str] = frozenset()


class SignalSnapshot(Endpoint):
    """GET of one signal's snapshot."""

    def __init__(self, gate: Gate, snapshots: Snapshots, clock: Callable[[], datetime], route: Route) -> None:
        """Take the snapshots, and the clock that judges their age."""
        super().__init__(gate, route.capability, route.parameters)
        self._snapshots = snapshots
        self._clock = clock
        self._signal = route.signal

    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Send the stored body, or 304 when the client holds its content."""
        limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        published = self._snapshots.find(caller.tenant_id, self._signal)
        etag = published.etag(limit)
        resp.set_headers({"Cache-Control": _CACHE_CONTROL, "ETag": f'W/"{etag}"', **published.headers(self._clock())})
        if _held(req, etag):
            resp.status = falcon.HTTP_304
        else:
            resp.data = published.body(limit)


def _held(req: Request, etag: str) -> bool:
    """Say whether the client names `etag` among those that it holds; compared weakly (RFC 9110, 13.1.2)."""
    return any(held in {"*", etag} for held in req.if_none_match or ())
