"""`activity uninstall`: out of a host for good."""

from __future__ import annotations

import click

from ops.adoption import uninstalling
from ops.confirmation import confirm
from snapshots import settings
from snapshots.pooling import session_url


@click.command()
@click.option("--roles", is_flag=True, help="Drop the group roles too, where nothing else depends on them.")
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def uninstall(*, roles: bool, dry_run: bool, yes: bool) -> None:
    """Take everything of ours out of the database: triggers, indexes, schema signals, and tables that we made.

    What the host made stays as it was. Stop workers, beat and API first.
    """
    url = session_url(settings.load(), "owner")
    going = uninstalling.plan(url, with_roles=roles)
    for line in going or ["nothing of ours is in this database"]:
        click.echo(line)
    if dry_run or not (going or roles):
        return
    confirm("Remove all of this for good?", yes=yes)
    if going:
        uninstalling.uninstall(url)
        click.echo("removed")
    if roles:
        for line in uninstalling.drop_roles(url):
            click.echo(line)
