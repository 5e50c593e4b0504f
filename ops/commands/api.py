"""`activity api`: the read layer, one or more processes."""

from __future__ import annotations

import click
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from ops import logs, startup
from snapshots import settings


@click.command()
@click.option("--host", help="Address to listen on; default ACTIVITY_API_HOST.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on; default ACTIVITY_API_PORT.")
def api(host: str | None, port: int | None) -> None:
    """Serve the read layer."""
    current = settings.load()
    logs.configure(current.log_level)
    startup.check_port(host or current.api_host, port or current.api_port)
    Granian(
        "api.wsgi:get_app",
        factory=True,
        interface=Interfaces.WSGI,
        address=host or current.api_host,
        port=port or current.api_port,
        workers=current.api_processes,
        blocking_threads=current.api_threads,
        log_level=LogLevels(current.log_level.lower()),
        respawn_failed_workers=True,
    ).serve()
