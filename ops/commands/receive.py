"""`activity receive`: an OTLP/HTTP receiver, of one or more processes."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

import click

from api.auth.credentials import tokens_of
from api.http import logs
from ingest.prices import prices_of
from ops import ports
from ops.serving import Serving, serve, shared_metrics
from snapshots import database, settings


@click.command()
@click.option("--host", help="Address to listen on; default ACTIVITY_INGEST_HOST.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on; default ACTIVITY_INGEST_PORT.")
def receive(host: str | None, port: int | None) -> None:
    """Receive spans over OTLP/HTTP at /v1/traces.

    A sender needs a key with the capability activity.ingest. Runs, traces and steps are written once a trace is whole.
    """
    current = settings.load()
    logs.configure(current.log_level)
    # A setting that cannot be used ends the command, by name, and not each process.
    tokens_of(current, partial(datetime.now, UTC), time.monotonic)
    prices_of(current)
    for role in ("ingest", "auth"):
        database.url_of(current, role)
    address = host or current.ingest_host, port or current.ingest_port
    ports.check(*address)
    with shared_metrics():
        # The application has threads of its own.
        how = Serving(*address, current.ingest_processes, 1, current.log_level)
        serve("ops.receiver:get_app", how, "asginl")
