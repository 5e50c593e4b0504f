"""The WSGI application, built from what it needs; `api.wsgi` builds it from the environment."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import falcon

from api.authentication import Gate, KeyRing
from api.middleware import Envelope, send_problem
from api.published import Snapshots
from api.reader import Reader
from api.resources.live import Runs, RunsByDimension, StatusSummary
from api.resources.service import Livez, Readyz, Start
from api.resources.snapshots import Route, SignalSnapshot
from snapshots.signals import SCHEMA_REVISION

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from snapshots.settings import Settings

PREFIX: Final = "/api/v1/activity"

_SNAPSHOTS: Final = {
    "/patterns": Route("patterns", "activity.patterns"),
    "/cost-analysis": Route("cost", "activity.cost_analysis"),
    "/attention-queue": Route("attention", "activity.attention_queue", frozenset({"limit"})),
}


def utc_now() -> datetime:
    """Return the present instant: the clock that judges expiry and ages (R2a)."""
    return datetime.now(UTC)


def create_app(  # noqa: PLR0913  # the last three stand in for the world, and have defaults
    reader: Engine,
    authenticator: Engine,
    settings: Settings,
    *,
    schema_revision: str = SCHEMA_REVISION,
    clock: Callable[[], datetime] = utc_now,
    timer: Callable[[], float] = time.monotonic,
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the application.

    `reader` and `authenticator` are engines of those two roles; `clock` tells the date, `timer` ages the caches.
    """
    rows = Reader(reader, settings.live_timeout_ms)
    gate = Gate(KeyRing(Reader(authenticator, settings.live_timeout_ms), timer), clock)
    snapshots = Snapshots(rows, timer)
    app = falcon.App(middleware=[Envelope()])
    app.add_error_handler(Exception, send_problem)
    app.add_error_handler(falcon.HTTPError, send_problem)
    app.add_route("/", Start())
    app.add_route("/livez", Livez())
    app.add_route("/readyz", Readyz(rows, schema_revision, timer))
    _add_live(app, gate, rows, exclude_synthetic=settings.exclude_synthetic)
    for path, route in _SNAPSHOTS.items():
        app.add_route(PREFIX + path, SignalSnapshot(gate, snapshots, clock, route))
    return app


def _add_live(
    app: falcon.App[falcon.Request, falcon.Response], gate: Gate, rows: Reader, *, exclude_synthetic: bool
) -> None:
    by_status = StatusSummary(gate, rows, exclude_synthetic=exclude_synthetic)
    by_dimension = RunsByDimension(gate, rows, exclude_synthetic=exclude_synthetic)
    app.add_route(f"{PREFIX}/summary/by-status", by_status)
    app.add_route(f"{PREFIX}/runs/by-dimension", by_dimension)
    app.add_route(f"{PREFIX}/runs", Runs(gate, rows))
