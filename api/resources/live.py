"""The live endpoints: counted or listed when asked.

Source: docs/specification-notes.md#synthetic-runs.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from sqlalchemy.exc import DataError

from api.http import cursor, wire
from api.http.endpoint import Endpoint
from api.queries import runs, summaries

if TYPE_CHECKING:
    from falcon import Request, Response

    from api.auth.authentication import Caller
    from api.auth.limits import LiveSlots
    from api.http.endpoint import Guard
    from api.http.parameters import Query
    from api.queries.reader import Reader


class LiveEndpoint(Endpoint):
    """An endpoint whose body is made for the request, while one of the process's slots is free."""

    def __init__(self, guard: Guard, capability: str, parameters: frozenset[str], slots: LiveSlots) -> None:
        """Take the slots that the live queries of this process share."""
        super().__init__(guard, capability, parameters)
        self._slots = slots

    @abstractmethod
    def body(self, caller: Caller, query: Query) -> dict[str, object]:
        """Return the body. Raises ProblemError (400) for a malformed parameter."""

    def answer(self, caller: Caller, query: Query, req: Request, resp: Response) -> None:
        """Send the body; nobody may keep it."""
        with self._slots:
            resp.data = wire.dump(self.body(caller, query))
        resp.set_header("Cache-Control", "no-store")


class StatusSummary(LiveEndpoint):
    """GET /api/v1/activity/summary/by-status."""

    def __init__(self, guard: Guard, reader: Reader, slots: LiveSlots, *, exclude_synthetic: bool) -> None:
        """Take the reader of live rows, and whether this deployment counts synthetic runs."""
        super().__init__(guard, "activity.summary_by_status", summaries.STATUS_PARAMETERS, slots)
        self._reader = reader
        self._exclude_synthetic = exclude_synthetic

    def body(self, caller: Caller, query: Query) -> dict[str, object]:
        """Return the counts per status."""
        scope = summaries.StatusScope.of(query, caller.tenant_id, exclude_synthetic=self._exclude_synthetic)
        return scope.body(self._reader.rows(scope.statement(), tenant_id=caller.tenant_id))


class RunsByDimension(LiveEndpoint):
    """GET /api/v1/activity/runs/by-dimension."""

    def __init__(self, guard: Guard, reader: Reader, slots: LiveSlots, *, exclude_synthetic: bool) -> None:
        """Take the reader of live rows, and whether this deployment counts synthetic runs."""
        super().__init__(guard, "activity.runs_by_dimension", summaries.DIMENSION_PARAMETERS, slots)
        self._reader = reader
        self._exclude_synthetic = exclude_synthetic

    def body(self, caller: Caller, query: Query) -> dict[str, object]:
        """Return the largest buckets of the dimension."""
        scope = summaries.DimensionScope.of(query, caller.tenant_id, exclude_synthetic=self._exclude_synthetic)
        return scope.body(self._reader.rows(scope.statement(), tenant_id=caller.tenant_id))


class Runs(LiveEndpoint):
    """GET /api/v1/activity/runs."""

    def __init__(self, guard: Guard, reader: Reader, slots: LiveSlots) -> None:
        """Take the reader of live rows."""
        super().__init__(guard, "activity.threshold_signals", runs.PARAMETERS, slots)
        self._reader = reader

    def body(self, caller: Caller, query: Query) -> dict[str, object]:
        """Return one page of runs."""
        page = runs.RunList.of(query, caller.tenant_id)
        try:
            return page.body(self._reader.rows(page.statement(), tenant_id=caller.tenant_id))
        except DataError:
            if page.position is None:
                raise
            # Every other value was checked: a sort key that PostgreSQL cannot read back was not printed by it.
            raise cursor.refused() from None
