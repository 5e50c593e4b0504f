"""`activity demo-feed`: the demo's present, as `activity up` runs it."""

from __future__ import annotations

import click

from ops import logs
from ops.local.demo.feed import run_feed
from ops.local.interruption import Interruption
from snapshots import database, settings


@click.command("demo-feed", hidden=True)
def demo_feed() -> None:
    """Let the demo's agents go on working until interrupted."""
    current = settings.load()
    logs.configure(current.log_level)
    engine = database.connect(
        database.url_of(current, "owner"), name="activity demo-feed", read_deadline_s=60, hide_parameters=True
    )
    try:
        with Interruption():
            run_feed(engine)
    finally:
        engine.dispose()
