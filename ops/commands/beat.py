"""`activity beat`: the process that rings for refreshes on schedule."""

from __future__ import annotations

import click

from ops import celery_process, logs
from ops.local import backing_services
from snapshots import settings
from worker import broker
from worker.app import create_app


@click.command()
def beat() -> None:
    """Ring for the refreshes on schedule; of several, one is active and the others take over."""
    current = settings.load()
    logs.configure(current.log_level)
    app = create_app(current)
    backing_services.reach(str(app.conf.redbeat_redis_url))
    broker.check_keeps_keys(str(app.conf.redbeat_redis_url))
    broker.check_clock(str(app.conf.redbeat_redis_url))
    celery_process.run(app, "beat", ["--loglevel", current.log_level, "--pidfile", ""])
