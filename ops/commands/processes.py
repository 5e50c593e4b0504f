"""`activity worker`, `activity beat`, `activity api`: one process each, for supervisors and containers."""

from __future__ import annotations

import click
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from migrations import runner
from ops import logs
from snapshots import database, settings
from worker.app import create_app
from worker.schedule import MANUAL_QUEUE, SCHEDULED_QUEUE


@click.command()
@click.option(
    "--concurrency", type=click.IntRange(1, 64), help="Worker processes; default ACTIVITY_WORKER_CONCURRENCY."
)
@click.option("--queues", default=f"{SCHEDULED_QUEUE},{MANUAL_QUEUE}", show_default=True, help="Queues to serve.")
def worker(concurrency: int | None, queues: str) -> None:
    """Run the refreshes that are rung for."""
    current = settings.load()
    logs.configure(current.log_level)
    app = create_app(current)
    runner.check(database.url_of(current, "worker"))
    options = ["--queues", queues, "--concurrency", str(concurrency or current.worker_concurrency)]
    app.worker_main(["worker", "--loglevel", current.log_level, *options])


@click.command()
def beat() -> None:
    """Ring for the refreshes on schedule; of several, one is active and the others take over."""
    current = settings.load()
    logs.configure(current.log_level)
    create_app(current).start(["beat", "--loglevel", current.log_level, "--pidfile", ""])


@click.command()
@click.option("--host", help="Address to listen on; default ACTIVITY_API_HOST.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on; default ACTIVITY_API_PORT.")
def api(host: str | None, port: int | None) -> None:
    """Serve the read layer."""
    current = settings.load()
    logs.configure(current.log_level)
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
