"""`activity status`: how fresh each signal is, what ran last, and who is alive."""

from __future__ import annotations

import json
import sys

import click

from ops import health
from snapshots import database, settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(*, as_json: bool) -> None:
    """Report freshness, the last refreshes, queue depth, workers and beat; exit 1 when something is stale."""
    current = settings.load()
    engine = database.connect(database.url_of(current, "worker"), name="activity status")
    report = health.inspect(engine, current)
    click.echo(json.dumps(report.as_dict(), indent=2) if as_json else report.as_text())
    sys.exit(0 if report.is_fresh else 1)
