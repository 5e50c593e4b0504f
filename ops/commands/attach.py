"""`activity attach`: back after a host's own migration."""

from __future__ import annotations

from pathlib import Path

import click

from ops.adoption.leaving import attach as come_back
from snapshots import settings
from snapshots.host_mapping import load
from snapshots.pooling import session_url


@click.command()
@click.option(
    "--mapping",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the host's tables and columns under the names that this TOML file gives, from now on.",
)
def attach(mapping: Path | None) -> None:
    """Make the views and triggers again that `activity detach` removed; the next refresh of each signal is a full one.

    Fails, and changes nothing, when the host lacks a column that a signal reads.
    """
    names = load(mapping) if mapping is not None else None
    known = come_back(session_url(settings.load(), "owner"), mapping=names)
    if known is None:
        click.echo("was not detached")
        return
    captured = f"changes of {', '.join(known.captured)} are captured" if known.captured else "changes are not captured"
    click.echo(f"attached; {captured}, and the next refresh of each signal is a full one")
