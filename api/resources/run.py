"""The run detail endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from falcon import HTTPRouteNotFound
from sqlalchemy.exc import DataError

from api.http import cursor
from api.queries import run_detail
from api.resources.live import LiveEndpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from falcon import Request, Response
    from sqlalchemy import Row

    from api.auth.authentication import Caller
    from api.auth.limits import LiveSlots
    from api.http.endpoint import Guard
    from api.http.parameters import Query
    from api.queries.reader import Reader


class Run:
    """GET /api/v1/activity/runs/{run_id}: the rest of the path is the id, slashes included."""

    def __init__(self, guard: Guard, reader: Reader, slots: LiveSlots, *, slow_step_ms: float) -> None:
        """Take the reader of live rows, and above how many milliseconds a step is slow."""
        self._guard = guard
        self._reader = reader
        self._slots = slots
        self._slow_step_ms = slow_step_ms

    def on_get(self, req: Request, resp: Response, run_id: str) -> None:
        """Answer for one run. Raises HTTPRouteNotFound where the path names none."""
        if not run_id:
            raise HTTPRouteNotFound
        OneRun(self._guard, self._reader, self._slots, run_id, self._slow_step_ms).on_get(req, resp)

    def on_head(self, req: Request, resp: Response, run_id: str) -> None:
        """Answer as GET does; Falcon leaves the body out."""
        self.on_get(req, resp, run_id)


class OneRun(LiveEndpoint):
    """The endpoint of the run that a path names."""

    def __init__(self, guard: Guard, reader: Reader, slots: LiveSlots, run_id: str, slow_step_ms: float) -> None:
        """Take the id as the path has it, decoded."""
        super().__init__(guard, "activity.threshold_signals", run_detail.PARAMETERS, slots)
        self._reader = reader
        self._run_id = run_id
        self._slow_step_ms = slow_step_ms

    def body(self, caller: Caller, query: Query) -> dict[str, object]:
        """Return the run and a page of its steps. Raises ProblemError (404) when the tenant has no such run."""
        detail = run_detail.RunDetail.of(query, self._run_id, caller.tenant_id, caller.capabilities, self._slow_step_ms)
        run = self._reader.rows(detail.run_statement(), tenant_id=caller.tenant_id)
        if not run:
            raise run_detail.run_not_found()
        traces = self._reader.rows(detail.traces_statement(), tenant_id=caller.tenant_id)
        return detail.body(run, traces, self._steps(detail))

    def _steps(self, detail: run_detail.RunDetail) -> Sequence[Row[tuple[object, ...]]]:
        try:
            return self._reader.rows(detail.steps_statement(), tenant_id=detail.tenant_id)
        except DataError:
            if detail.position is None:
                raise
            # A start that PostgreSQL cannot read back was not printed by it.
            raise cursor.refused() from None
