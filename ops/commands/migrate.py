"""`activity migrate`: the schema to its newest revision."""

from __future__ import annotations

from pathlib import Path

import click

from migrations import runner
from snapshots import database, settings


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 when the schema is not at the newest revision.")
@click.option("--repair", is_flag=True, help="Make missing grants, policies, indexes and other parts again; no rows.")
@click.option(
    "--mapping",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file that says what the host names our source tables and columns; kept in the database.",
)
def migrate(*, check: bool, repair: bool, mapping: Path | None) -> None:
    """Bring the schema to the newest revision, and create the database roles that are missing."""
    if check and repair:
        raise click.UsageError("--repair: expected without --check, which changes nothing")
    current = settings.load() if mapping is None else settings.load(source_mapping=mapping)
    url = database.url_of(current, "owner")
    if check:
        runner.check(url)
    else:
        if repair:
            for line in runner.repair(current) or ["nothing is missing"]:
                click.echo(line)
        runner.migrate(current)
    click.echo(f"schema at {runner.head()}")
