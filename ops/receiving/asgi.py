"""What an ASGI server loads: `granian --interface asginl --factory ops.receiving.asgi:get_app`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api import logs
from api.app import Surroundings
from ops.receiving.app import create_app
from ops.receiving.assembler import Assembler
from ops.receiving.front import Front
from ops.receiving.metrics import Metrics
from ops.telemetry.prices import price_file, read_prices
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
    # One connection more than threads: the assembler's.
    engine = _engine(configured, "ingest", configured.ingest_threads + 1)
    prices = read_prices(price_file(configured.prices_file))
    around = Surroundings()
    app = create_app(engine, _engine(configured, "auth", 2), configured, metrics, around)
    around.aside.keep_working()
    Assembler(engine, configured, prices, metrics).start()
    # As many again may wait a moment for those that work.
    return Front(app, 2 * configured.ingest_threads, configured.ingest_body_timeout_s)


def _metrics_folder() -> Path | None:
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # noqa: TID251  # the library's variable, not a setting of ours
    return None if folder is None else Path(folder)


def _engine(configured: Settings, role: Role, connections: int) -> Engine:
    return connect(
        url_of(configured, role),
        name=f"activity-receive-{role}",
        connect_timeout_s=_CONNECT_TIMEOUT_S,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_S,
        hide_parameters=True,
    )
