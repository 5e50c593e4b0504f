"""`activity worker`: the processes that refresh."""

from __future__ import annotations

from typing import Final

import click

from migrations import runner
from ops import celery_process, logs
from snapshots import settings
from snapshots.pooling import session_url
from worker import broker
from worker.app import create_app
from worker.schedule import QUEUES

#: Workers need not know of each other: the talk among them is load on the broker, and a second at each start.
QUIET: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@click.command()
@click.option("--concurrency", type=click.IntRange(1, 64), help="Processes; default ACTIVITY_WORKER_CONCURRENCY.")
@click.option("--queues", default=",".join(QUEUES), show_default=True, help="Queues to serve.")
def worker(concurrency: int | None, queues: str) -> None:
    """Run the refreshes that are rung for."""
    current = settings.load()
    logs.configure(current.log_level)
    app = create_app(current)
    runner.check(session_url(current, "worker"))
    broker.check_keeps_keys(app.conf.broker_url)
    options = ["--queues", queues, "--concurrency", str(concurrency or current.worker_concurrency), *QUIET]
    celery_process.run(app, "worker", ["--loglevel", current.log_level, *options])
