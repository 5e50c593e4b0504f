"""Composition root of `activity receive`: `granian --interface asginl --factory ops.receiver:get_app`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api.app import AppDependencies
from api.auth.credentials import gate_of
from api.http import logs
from api.http.problems import ProblemError
from api.queries.reader import LOOK_UP_TIMEOUT_MS
from ingest.assembly import assembler
from ingest.health import Metrics
from ingest.otlp import receiver
from ingest.otlp.answers import RefusalError
from ingest.prices import prices_of
from snapshots import settings
from snapshots.database import connect, url_of
from snapshots.signals import INGEST_CAPABILITY

if TYPE_CHECKING:
    from falcon.asgi import Request
    from sqlalchemy import Engine

    from ingest.otlp.receiver import Authenticator, ReceiverApp
    from snapshots.database import Role
    from snapshots.settings import Settings

#: Seconds that a request waits for a connection, and for a server that does not answer at all.
_POOL_TIMEOUT_S: Final = 5
_CONNECT_TIMEOUT_S: Final = 3


def get_app() -> ReceiverApp:
    """Return the application of this process, and start its assembler. Raises SettingsError by name."""
    configured = settings.load()
    logs.configure(configured.log_level)
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # noqa: TID251  # the library's variable, not a setting of ours
    metrics = Metrics(None if folder is None else Path(folder))
    engine = _engine(configured, "ingest", configured.ingest_threads, receiver.STATEMENT_TIMEOUT_S)
    # A statement of the assembler may take longer than one of a request.
    assembling = _engine(configured, "ingest", 1, assembler.STATEMENT_TIMEOUT_S)
    around = AppDependencies()
    keys = _engine(configured, "auth", 2, LOOK_UP_TIMEOUT_MS / 1000)
    authenticate = authenticator_of(keys, configured, around)
    around.aside.keep_working()
    around.key_watch.keep_watching()
    assembler.Assembler(assembling, configured, prices_of(configured), metrics).start()
    return receiver.create_app(authenticate, engine, configured, metrics)


def authenticator_of(keys: Engine, configured: Settings, around: AppDependencies) -> Authenticator:
    """Return the API's authentication for the receiver; `keys` is an engine of the role that looks up keys."""
    gate = gate_of(keys, configured, around)

    def authenticate(req: Request) -> str:
        try:
            return gate.admit(req, INGEST_CAPABILITY).tenant_id
        except ProblemError as ex:
            headers = {**ex.headers, "Connection": "close"}
            raise RefusalError(ex.status.value, ex.detail, headers=headers) from None

    return authenticate


def _engine(configured: Settings, role: Role, connections: int, statement_timeout_s: float) -> Engine:
    """Return an engine that waits for a statement a second longer than a server that runs lets it take."""
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
