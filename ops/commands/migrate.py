"""`activity migrate`: the schema to its newest revision."""

from __future__ import annotations

import click

from migrations import runner
from snapshots import database, settings


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 when the schema is not at the newest revision.")
def migrate(*, check: bool) -> None:
    """Bring the schema to the newest revision, and create the database roles that are missing."""
    current = settings.load()
    url = database.url_of(current, "owner")
    if check:
        runner.check(url)
    else:
        runner.migrate(current)
    click.echo(f"schema at {runner.head()}")
