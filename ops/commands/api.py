"""`activity api`: the read layer, one or more processes."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

import click

from api.auth.credentials import tokens_of
from api.http import logs
from ops import ports
from ops.serving import Serving, serve, shared_metrics
from snapshots import settings


@click.command()
@click.option("--host", help="Address to listen on; default ACTIVITY_API_HOST.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on; default ACTIVITY_API_PORT.")
@click.option("--port-is-held", is_flag=True, hidden=True, help="The caller keeps the port for us: it looks taken.")
def api(*, host: str | None, port: int | None, port_is_held: bool) -> None:
    """Serve the read layer."""
    current = settings.load()
    logs.configure(current.log_level)
    # A file of public keys that is none ends here, by name, and not in each process.
    tokens_of(current, partial(datetime.now, UTC), time.monotonic)
    address = host or current.api_host, port or current.api_port
    if not port_is_held:
        ports.check(*address)
    with shared_metrics():
        # One more than may work waits a moment for them, and one is left for what is answered from memory.
        serve("api.wsgi:get_app", Serving(*address, current.api_processes, current.api_threads + 2, current.log_level))
