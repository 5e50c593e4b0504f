"""The explanation of one item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api.queries.explain.explanation import explain
from api.queries.history import fingerprint_of
from api.resources.live import LiveEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from falcon import Request, Response

    from api.auth.authentication import Caller
    from api.auth.limits import LiveSlots
    from api.http.endpoint import Guard
    from api.http.parameters import Query
    from api.queries.reader import Reader

CAPABILITY: Final = "activity.explain"


class Explain:
    """GET /api/v1/activity/explain/{fingerprint}."""

    def __init__(self, guard: Guard, reader: Reader, slots: LiveSlots, clock: Callable[[], datetime]) -> None:
        """Take the reader of stored and live rows, and the clock that says when the source was asked."""
        self._guard = guard
        self._reader = reader
        self._slots = slots
        self._clock = clock

    def on_get(self, req: Request, resp: Response, fingerprint: str) -> None:
        """Answer for one item."""
        OneExplanation(self._guard, self._reader, self._slots, self._clock, fingerprint).on_get(req, resp)

    def on_head(self, req: Request, resp: Response, fingerprint: str) -> None:
        """Answer as GET does; Falcon leaves the body out."""
        self.on_get(req, resp, fingerprint)


class OneExplanation(LiveEndpoint):
    """The endpoint of the item that a path names."""

    def __init__(
        self, guard: Guard, reader: Reader, slots: LiveSlots, clock: Callable[[], datetime], fingerprint: str
    ) -> None:
        """Take the fingerprint as the path has it."""
        super().__init__(guard, CAPABILITY, frozenset(), slots)
        self._reader = reader
        self._clock = clock
        self._fingerprint = fingerprint

    def body(self, caller: Caller, query: Query) -> dict[str, object]:
        """Return the explanation. Raises ProblemError (404) when the tenant has no such item."""
        del query
        fingerprint = fingerprint_of(self._fingerprint, "fingerprint")
        return explain(self._reader, caller.tenant_id, fingerprint, self._clock())
