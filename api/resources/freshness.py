"""GET /api/v1/activity/freshness: how old each signal is.

Source: docs/specification-notes.md#credentials-and-capabilities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.http import wire
from api.http.endpoint import Endpoint
from api.queries import freshness

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from falcon import Request, Response

    from api.auth.authentication import Caller
    from api.http.endpoint import Guard
    from api.http.parameters import Query
    from api.queries.reader import Reader


class Freshness(Endpoint):
    """The ages of all signals; any valid key may ask."""

    def __init__(self, guard: Guard, reader: Reader, clock: Callable[[], datetime]) -> None:
        """Take the reader of our tables, and the clock that judges ages."""
        super().__init__(guard, None, frozenset())
        self._reader = reader
        self._clock = clock

    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Send the ages; nobody may keep them."""
        ages = self._reader.rows(freshness.statement(caller.tenant_id), tenant_id=caller.tenant_id)
        tried = self._reader.rows(freshness.attempts(caller.tenant_id), tenant_id=caller.tenant_id)
        resp.data = wire.dump(freshness.body(ages, tried, self._clock()))
        resp.set_header("Cache-Control", "no-store")
