"""What an ASGI server loads: `granian --interface asginl --factory ingest.otlp.asgi:get_app`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api.app import Surroundings
from api.http import logs
from api.queries.reader import LOOK_UP_TIMEOUT_MS
from ingest.assembly import rounds
from ingest.otlp import traces
from ingest.otlp.app import create_app
from ingest.otlp.front import Front
from ingest.otlp.metrics import Metrics
from ingest.prices import price_file, read_prices
from snapshots import settings
from snapshots.database import connect, url_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from snapshots.database import Role
    from snapshots.settings import Settings

#: Seconds that a request waits for a connection, and for a server that does not answer at all.
_POOL_TIMEOUT_S: Final = 5
_CONNECT_TIMEOUT_S: Final = 3


def get_app() -> Front:
    """Return the application of this process, and start its assembler. Raises SettingsError by name."""
    configured = settings.load()
    logs.configure(configured.log_level)
    metrics = Metrics(_metrics_folder())
    engine = _engine(configured, "ingest", configured.ingest_threads, traces.STATEMENT_TIMEOUT_S)
    # The assembler takes longer over a statement than a request may.
    assembling = _engine(configured, "ingest", 1, rounds.STATEMENT_TIMEOUT_S)
    prices = read_prices(price_file(configured.prices_file))
    around = Surroundings()
    app = create_app(engine, _engine(configured, "auth", 2, LOOK_UP_TIMEOUT_MS / 1000), configured, metrics, around)
    around.aside.keep_working()
    around.key_watch.keep_watching()
    rounds.Assembler(assembling, configured, prices, metrics).start()
    # As many again may wait a moment for those that work.
    return Front(app, 2 * configured.ingest_threads, configured.ingest_body_timeout_s)


def _metrics_folder() -> Path | None:
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # noqa: TID251  # the library's variable, not a setting of ours
    return None if folder is None else Path(folder)


def _engine(configured: Settings, role: Role, connections: int, statement_timeout_s: float) -> Engine:
    """Return an engine whose statements are waited for a second longer than a server that runs lets them take."""
    return connect(
        url_of(configured, role),
        name=f"activity-receive-{role}",
        connect_timeout_s=_CONNECT_TIMEOUT_S,
        read_deadline_s=statement_timeout_s + 1,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_S,
        hide_parameters=True,
    )
