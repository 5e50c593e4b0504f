"""What a WSGI server loads: `granian --interface wsgi --factory api.wsgi:get_app`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from api.app import create_app
from snapshots import settings
from snapshots.database import connect, url_of

if TYPE_CHECKING:
    import falcon
    from sqlalchemy.engine import Engine

    from snapshots.database import Role
    from snapshots.settings import Settings

#: Seconds that a request waits for a connection before the answer is 503.
_POOL_TIMEOUT_S: Final = 5


def get_app() -> falcon.App[falcon.Request, falcon.Response]:
    """Return the application of this process, from its environment. Raises SettingsError by name."""
    configured = settings.load()
    logging.basicConfig(level=configured.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return create_app(_engine(configured, "reader"), _engine(configured, "auth"), configured)


def _engine(configured: Settings, role: Role) -> Engine:
    """Return an engine that has a connection for each thread, and keeps values out of error messages."""
    return connect(
        url_of(configured, role),
        name=f"activity-api-{role}",
        pool_size=configured.api_threads,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_S,
        hide_parameters=True,
    )
