"""`activity detach`: out of the way of a host's own migration."""

from __future__ import annotations

import click

from ops.adoption.leaving import detach as leave
from snapshots import settings
from snapshots.pooling import session_url


@click.command()
def detach() -> None:
    """Remove our views over the host's tables and the triggers on them, until `activity attach`.

    Snapshots go on being served and grow old; refreshes fail meanwhile. Needs the tables' owner.
    """
    was_attached = leave(session_url(settings.load(), "owner"))
    state = "detached" if was_attached else "was detached before"
    click.echo(f"{state}: nothing of ours keeps runs, aos_traces and aos_trace_steps from being changed")
