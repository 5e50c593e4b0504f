"""`activity beat`: the process that rings for refreshes on schedule."""

from __future__ import annotations

import click

from ops import logs
from snapshots import settings
from worker.app import create_app


@click.command()
def beat() -> None:
    """Ring for the refreshes on schedule; of several, one is active and the others take over."""
    current = settings.load()
    logs.configure(current.log_level)
    create_app(current).start(["beat", "--loglevel", current.log_level, "--pidfile", ""])
