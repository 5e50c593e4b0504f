"""`activity attach`: back after a host's own migration."""

from __future__ import annotations

import click

from ops.leaving import attach as come_back
from snapshots import database, settings


@click.command()
def attach() -> None:
    """Make the views and triggers again that `activity detach` removed; the next refresh of each signal is a full one.

    Fails, and changes nothing, when the host lacks a column that a signal reads.
    """
    known = come_back(database.url_of(settings.load(), "owner"))
    if known is None:
        click.echo("was not detached")
        return
    captured = f"changes of {', '.join(known.captured)} are captured" if known.captured else "changes are not captured"
    click.echo(f"attached; {captured}, and the next refresh of each signal is a full one")
