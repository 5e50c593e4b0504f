"""The endpoint of triage: the one place of the API that writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import falcon

from api.http import payload, wire
from api.http.endpoint import Endpoint
from api.http.parameters import Query
from api.http.problems import ProblemError
from api.queries.history import fingerprint_of
from api.queries.triage import MEMBERS, REQUEST_KEY, Decision

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from falcon import Request, Response

    from api.auth.authentication import Caller
    from api.http.endpoint import Guard
    from api.queries.triage import TriageService

CAPABILITY: Final = "activity.triage"
_IDEMPOTENCY: Final = "Idempotency-Key"


class Triage(Endpoint):
    """GET and POST /api/v1/activity/triage."""

    def __init__(self, guard: Guard, desk: TriageService, clock: Callable[[], datetime]) -> None:
        """Take the desk, and the clock that decisions begin at."""
        super().__init__(guard, CAPABILITY, frozenset({"fingerprint"}))
        self._desk = desk
        self._clock = clock

    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Send what was said of one item; nobody may keep it."""
        fingerprint = fingerprint_of(query.text("fingerprint"), "fingerprint")
        resp.data = wire.dump(self._desk.events(caller.tenant_id, fingerprint, self._clock()))
        resp.set_header("Cache-Control", "no-store")

    def on_post(self, req: Request, resp: Response) -> None:
        """Write one decision down."""
        caller = self._guard.admit(req, self._capability)
        Query(req.params, ())
        decision = Decision.of(payload.members(req, MEMBERS), self._clock())
        resp.data = wire.dump(self._desk.decide(caller, decision, _request_key(req)))
        resp.status = falcon.HTTP_201
        resp.set_header("Cache-Control", "no-store")


def _request_key(req: Request) -> str | None:
    """Return what the client named the request, None when it did not. Raises ProblemError (400)."""
    given = req.get_header(_IDEMPOTENCY)
    if given is not None and not REQUEST_KEY.fullmatch(given):
        detail = f"{_IDEMPOTENCY}: expected 1 to 128 printable ASCII characters without spaces"
        raise ProblemError(400, "invalid_header", detail)
    return given
