"""`activity receive`: spans taken in over OTLP/HTTP, one or more processes."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

import click

from api.auth.credentials import tokens_of
from api.http import logs
from ingest.prices import price_file, read_prices
from ops import ports
from ops.serving import Serving, serve, shared_metrics
from snapshots import database, settings


@click.command()
@click.option("--host", help="Address to listen on; default ACTIVITY_INGEST_HOST.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on; default ACTIVITY_INGEST_PORT.")
def receive(host: str | None, port: int | None) -> None:
    """Take spans in over OTLP/HTTP at /v1/traces, and write runs, traces and steps once a trace is whole.

    A sender needs a key with the capability activity.ingest.
    """
    current = settings.load()
    logs.configure(current.log_level)
    # What cannot be used ends here, by name, and not in each process.
    tokens_of(current, partial(datetime.now, UTC), time.monotonic)
    read_prices(price_file(current.prices_file))
    for role in ("ingest", "auth"):
        database.url_of(current, role)
    address = host or current.ingest_host, port or current.ingest_port
    ports.check(*address)
    with shared_metrics():
        # The application has threads of its own.
        how = Serving(*address, current.ingest_processes, 1, current.log_level)
        serve("ingest.otlp.asgi:get_app", how, "asginl")
