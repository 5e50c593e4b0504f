"""The snapshot endpoints: what the worker published, sent as stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import falcon

from api.http import encoding
from api.http.conditions import is_held
from api.http.context import REPEATABLE, Repeatable
from api.http.endpoint import Endpoint
from api.http.parameters import past
from api.queries.published import ALL_ITEMS, CACHE_TTL_S
from snapshots.body import DEFAULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from falcon import Request, Response

    from api.auth.authentication import Caller
    from api.http.endpoint import Guard
    from api.http.parameters import Query
    from api.queries.published import Published, Snapshots
    from snapshots.signal_catalogue import SignalDefinition

MAX_LIMIT: Final = 100
#: Whether what is snoozed is among the items; a kept version knows nothing of it.
SNOOZED: Final = ("show", "hide")
#: A shared cache may not keep it; the caller's may, as long as this process does.
_CACHE_CONTROL: Final = "private, max-age=1"


class SignalSnapshot(Endpoint):
    """GET of one signal's snapshot."""

    def __init__(
        self, guard: Guard, snapshots: Snapshots, clock: Callable[[], datetime], definition: SignalDefinition
    ) -> None:
        """Take the snapshots, and the clock that judges their age."""
        parameters = {"as_of", "snoozed"} | ({"limit"} if definition.takes_limit else set())
        super().__init__(guard, definition.capability, frozenset(parameters))
        self._snapshots = snapshots
        self._clock = clock
        self._signal = definition.name

    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Send the stored body, or 304 when the client holds its content."""
        limit = query.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        as_of = past(query, "as_of", self._clock())
        hides = query.choice("snoozed", SNOOZED) == "hide"
        published = self._find(caller.tenant_id, as_of, ALL_ITEMS if hides else limit)
        etag = published.etag(limit, hides=hides)
        resp.set_headers({"Cache-Control": _CACHE_CONTROL, "ETag": f'W/"{etag}"', **published.headers(self._clock())})
        resp.append_header("Vary", "Accept-Encoding")
        if as_of is None and "HTTP_AUTHORIZATION" in req.env:
            # A session's answers are not repeated: their key would have to be found among its cookies first.
            until = published.read_at + CACHE_TTL_S
            req.env[REPEATABLE] = Repeatable(f'W/"{etag}"', published.provenance.stale_after, until, caller)
        if is_held(req, etag):
            resp.status = falcon.HTTP_304
        else:
            _send(published.body(limit, hides=hides), req, resp)

    def _find(self, tenant_id: str, as_of: datetime | None, wanted: int) -> Published:
        if as_of is None:
            return self._snapshots.find(tenant_id, self._signal, wanted)
        return self._snapshots.kept(tenant_id, self._signal, as_of)


def _send(body: bytes, req: Request, resp: Response) -> None:
    """Send `body`, compressed when the client takes that and the body is worth it."""
    resp.data, coding = encoding.encode(body, encoding.accepted(req.get_header("Accept-Encoding") or ""))
    if coding is not None:
        resp.set_header("Content-Encoding", coding)
