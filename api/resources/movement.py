"""The endpoints of movement: the changes of a tenant in order, and the series of one item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api.http import wire
from api.http.endpoint import Endpoint
from api.queries import changes, history

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from falcon import Request, Response

    from api.auth.authentication import Caller
    from api.http.endpoint import Guard
    from api.http.parameters import Query
    from api.queries.reader import Reader

CAPABILITY: Final = "activity.changes"


class Changes(Endpoint):
    """GET /api/v1/activity/changes."""

    def __init__(self, guard: Guard, reader: Reader) -> None:
        """Take the reader of our tables."""
        super().__init__(guard, CAPABILITY, changes.PARAMETERS)
        self._reader = reader

    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Send the next page; nobody may keep it."""
        page = changes.asked_for(query, caller.tenant_id)
        resp.data = wire.dump(page.body(self._reader.rows(page.statement(), tenant_id=caller.tenant_id)))
        resp.set_header("Cache-Control", "no-store")


class History(Endpoint):
    """GET /api/v1/activity/history."""

    def __init__(self, guard: Guard, reader: Reader, clock: Callable[[], datetime]) -> None:
        """Take the reader of our tables, and the clock that a series ends at."""
        super().__init__(guard, CAPABILITY, history.PARAMETERS)
        self._reader = reader
        self._clock = clock

    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Send the series; nobody may keep it."""
        series = history.ItemHistory.of(query, caller.tenant_id, self._clock())
        resp.data = wire.dump(series.body(self._reader.rows(series.statement(), tenant_id=caller.tenant_id)))
        resp.set_header("Cache-Control", "no-store")
