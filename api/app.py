"""The WSGI application, built from what it needs; `api.wsgi` builds it from the environment.

Source: docs/specification-notes.md#fencing-and-the-database-clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import falcon

from api import bundle
from api.auth.credentials import gate_of
from api.auth.limits import FailureLimit, LiveSlots, PortionedLimit, live_limit
from api.auth.visibility import Proof
from api.http.background import BackgroundQueue
from api.http.circuit_breaker import CircuitBreaker
from api.http.endpoint import Guard
from api.http.log_writer import LogWriter
from api.http.metrics import Metrics, SnapshotAges
from api.http.middleware import Envelope, send_problem
from api.http.request_middleware import RequestMiddleware
from api.http.request_recorder import RequestRecorder
from api.http.response_cache import ResponseCache
from api.openapi import document
from api.queries.published import Snapshots
from api.queries.reader import LOOK_UP_TIMEOUT_MS, Reader
from api.queries.triage import TriageService
from api.resources import console
from api.resources.explain import Explain
from api.resources.freshness import Freshness
from api.resources.live import Runs, RunsByDimension, StatusSummary
from api.resources.movement import Changes, History
from api.resources.run import Run
from api.resources.service import Contract, Livez, Numbers, Readyz, Start
from api.resources.session import Session
from api.resources.signals import Signals
from api.resources.snapshots import SignalSnapshot
from api.resources.triage import Triage
from snapshots.signal_catalogue import CATALOGUE
from snapshots.signals import READER_ROLE, SCHEMA_REVISION, TRIAGE_ROLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from api.http.log_writer import Sink
    from snapshots.settings import Settings

    Application = falcon.App[falcon.Request, falcon.Response]

PREFIX: Final = "/api/v1/activity"
EXPOSED_HEADERS: Final = (
    "ETag",
    "Retry-After",
    "Snapshot-As-Of",
    "Snapshot-Verified-At",
    "Snapshot-Stale",
    "X-Request-Id",
)


def utc_now() -> datetime:
    """Return the present instant: the clock that judges expiry and ages."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class AppDependencies:
    """Dependencies of the application: clocks, access log, and the folder where processes add up their metrics.

    The watches over the two databases do nothing until somebody has them watch, and what is put aside waits until
    somebody does it. `triage` is an engine of the triage role; without one nobody can say anything of an item.
    """

    clock: Callable[[], datetime] = utc_now
    timer: Callable[[], float] = time.monotonic
    log: Sink | None = None
    metrics_folder: Path | None = None
    reader_watch: CircuitBreaker = field(default_factory=CircuitBreaker)
    key_watch: CircuitBreaker = field(default_factory=CircuitBreaker)
    aside: BackgroundQueue = field(default_factory=BackgroundQueue)
    triage: Engine | None = None
    schema_revision: str = SCHEMA_REVISION


def create_app(
    reader: Engine, authenticator: Engine, settings: Settings, around: AppDependencies | None = None
) -> RequestMiddleware:
    """Return the application. `reader` and `authenticator` are engines of those two roles."""
    around = around or AppDependencies()
    proof = Proof(READER_ROLE, around.timer)
    rows = Reader(reader, settings.live_timeout_ms, around.reader_watch, proof)
    look_ups = Reader(reader, LOOK_UP_TIMEOUT_MS, around.reader_watch, proof)
    gate = gate_of(authenticator, settings, around)
    limit = PortionedLimit(settings.rate_limit_snapshots)
    metrics = Metrics(around.metrics_folder)
    records = RequestRecorder(metrics, None if around.log is None else LogWriter(around.log, metrics.count_lost_lines))
    app = _framework(settings)
    _add_service(app, Reader(reader, LOOK_UP_TIMEOUT_MS, around.reader_watch), settings, around)
    if settings.metrics:
        app.add_route("/metrics", Numbers(metrics, SnapshotAges(look_ups, around.clock), records))
    _add_live(app, Guard(gate, live_limit(settings, around.timer)), rows, settings, around)
    _add_snapshots(app, Guard(gate, limit), look_ups, around)
    if settings.console:
        _add_console(app, Guard(gate, limit), settings)
    _add_triage(app, Guard(gate, limit), look_ups, around)
    repeats = ResponseCache(limit, around.clock, around.timer)
    return RequestMiddleware(app, repeats, records, in_flight=settings.api_threads)


def _framework(settings: Settings) -> Application:
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    middleware: list[Any] = [Envelope()]
    if origins:
        middleware.append(falcon.CORSMiddleware(allow_origins=origins, expose_headers=list(EXPOSED_HEADERS)))
    app = falcon.App(middleware=middleware)
    app.add_error_handler(Exception, send_problem)
    app.add_error_handler(falcon.HTTPError, send_problem)
    return app


def _add_service(app: Application, rows: Reader, settings: Settings, around: AppDependencies) -> None:
    app.add_route("/", Start(with_console=settings.console))
    app.add_route("/livez", Livez())
    app.add_route("/readyz", Readyz(rows, around.schema_revision, around.timer))
    contract = document.as_bytes(with_metrics=settings.metrics, with_console=settings.console)
    app.add_route("/openapi.json", Contract(contract))


def _add_live(app: Application, guard: Guard, rows: Reader, settings: Settings, around: AppDependencies) -> None:
    # One is left for what is found by its key.
    slots = LiveSlots(max(1, min(settings.api_live_concurrency, settings.api_threads - 1)))
    by_status = StatusSummary(guard, rows, slots, exclude_synthetic=settings.exclude_synthetic)
    by_dimension = RunsByDimension(guard, rows, slots, exclude_synthetic=settings.exclude_synthetic)
    app.add_route(f"{PREFIX}/summary/by-status", by_status)
    app.add_route(f"{PREFIX}/runs/by-dimension", by_dimension)
    app.add_route(f"{PREFIX}/runs", Runs(guard, rows, slots))
    app.add_route(f"{PREFIX}/explain/{{fingerprint}}", Explain(guard, rows, slots, around.clock))
    run = Run(guard, rows, slots, slow_step_ms=settings.slow_step_ms)
    # Any id that a path can hold, slashes included; the two routes above win over an id of their name.
    app.add_route(f"{PREFIX}/runs/{{run_id:path}}", run)


def _add_triage(app: Application, guard: Guard, rows: Reader, around: AppDependencies) -> None:
    writer = None
    if around.triage is not None:
        proof = Proof(TRIAGE_ROLE, around.timer)
        writer = Reader(around.triage, LOOK_UP_TIMEOUT_MS, around.reader_watch, proof)
    app.add_route(f"{PREFIX}/triage", Triage(guard, TriageService(writer, rows), around.clock))


def _add_console(app: Application, guard: Guard, settings: Settings) -> None:
    app.add_route("/api/v1/session", Session(guard, FailureLimit(settings.rate_limit_logins)))
    app.add_route("/console", console.ConsoleFolder())
    app.add_route(f"{console.PATH}{{name:path}}", console.Console(bundle.load()))


def _add_snapshots(app: Application, guard: Guard, rows: Reader, around: AppDependencies) -> None:
    snapshots = Snapshots(rows, around.timer, around.clock)
    for definition in CATALOGUE.values():
        app.add_route(PREFIX + definition.route, SignalSnapshot(guard, snapshots, around.clock, definition))
    app.add_route(f"{PREFIX}/signals", Signals(guard, PREFIX))
    app.add_route(f"{PREFIX}/freshness", Freshness(guard, rows, around.clock))
    app.add_route(f"{PREFIX}/changes", Changes(guard, rows))
    app.add_route(f"{PREFIX}/history", History(guard, rows, around.clock))
