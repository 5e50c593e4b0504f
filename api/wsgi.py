"""WSGI entry point: `granian --interface wsgi --factory api.wsgi:get_app`."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api.app import AppDependencies, create_app
from api.http import logs
from api.http.log_writer import inherited
from snapshots import settings
from snapshots.database import connect, url_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Engine

    from api.http.request_middleware import RequestMiddleware
    from snapshots.database import Role
    from snapshots.settings import Settings

#: Seconds that a request waits for a connection before the answer is 503.
_POOL_TIMEOUT_S: Final = 2
#: Seconds that a request waits for a server that does not answer at all.
_CONNECT_TIMEOUT_S: Final = 2
#: Compiled statements that an engine remembers, and half as many again: a list's filters make one of each of their
#: combinations, which takes a quarter of a megabyte.
_STATEMENTS: Final = 16

#: Connections of a process, at most one per thread and, of the keys', one more that writes down their use: looking them
#: up takes few.
_POOL_SIZE: Final[Mapping[Role, int]] = {"reader": 256, "auth": 2, "triage": 2}
_OF_NO_REQUEST: Final[Mapping[Role, int]] = {"auth": 1}


def get_app() -> RequestMiddleware:
    """Return the application of this process, from its environment. Raises SettingsError by name."""
    configured = settings.load()
    logs.configure(configured.log_level, inherited(sys.stderr))
    around = AppDependencies(
        log=inherited(sys.stdout) if configured.access_log else None,
        metrics_folder=_metrics_folder(),
        triage=_triage_engine(configured),
    )
    app = create_app(_engine(configured, "reader"), _engine(configured, "auth"), configured, around)
    app.keep_house()
    for watch in (around.reader_watch, around.key_watch):
        watch.keep_watching()
    around.aside.keep_working()
    # What is here now stays: the collector need not walk through it, and looks at what requests leave all the sooner.
    gc.collect()
    gc.freeze()
    return app


def _metrics_folder() -> Path | None:
    """Return the folder that prometheus-client's own variable names: it has read it when it was imported."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # noqa: TID251  # the library's variable, not a setting of ours
    return None if folder is None else Path(folder)


def _triage_engine(configured: Settings) -> Engine | None:
    """Return an engine of the triage role; None where the process is given no URL that could write."""
    if configured.triage_database_url is None and configured.database_url is None:
        return None
    return _engine(configured, "triage")


def _engine(configured: Settings, role: Role) -> Engine:
    """Return an engine that has a connection for each thread, and keeps values out of error messages.

    A read is one round trip: each commits by itself, and no connection is tried out before its use (`Reader.rows`).
    """
    return connect(
        url_of(configured, role),
        name=f"activity-api-{role}",
        connect_timeout_s=_CONNECT_TIMEOUT_S,
        keeps_session=False,
        pool_size=min(configured.api_threads + _OF_NO_REQUEST.get(role, 0), _POOL_SIZE[role]),
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_S,
        pool_pre_ping=False,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        # Else each new connection asks for the ids of a type that we have no column of.
        use_native_hstore=False,
        hide_parameters=True,
        query_cache_size=_STATEMENTS,
    )
