"""`activity recompute`: ask the workers to refresh now, or show what a refresh would change."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from ops import recomputing
from ops.arguments import INSTANT, TENANT
from snapshots import database, settings
from snapshots.errors import SettingsError
from snapshots.signals import SIGNALS, check_signal

if TYPE_CHECKING:
    from datetime import datetime


@click.command()
@click.option("--signal", "signals", multiple=True, help="A signal to refresh; repeatable; default all.")
@click.option("--tenant", "tenants", multiple=True, type=TENANT, help="A tenant to refresh; repeatable; default all.")
@click.option("--full", is_flag=True, help="Compare with all source rows, and repair.")
@click.option("--wait", is_flag=True, help="Wait until the workers are done; exit 1 on a failure.")
@click.option("--timeout", default=600, show_default=True, type=click.IntRange(1), help="Seconds to wait at most.")
@click.option("--dry-run", is_flag=True, help="Publish nothing; print the difference from what is published.")
@click.option("--as-of", type=INSTANT, help="With --dry-run: compute as of this instant, RFC 3339 with a zone.")
def recompute(  # noqa: PLR0913  # click passes one argument per option
    signals: tuple[str, ...],
    tenants: tuple[str, ...],
    *,
    full: bool,
    wait: bool,
    timeout: int,
    dry_run: bool,
    as_of: datetime | None,
) -> None:
    """Ask the workers to refresh signals now."""
    names = [check_signal(name) for name in signals] or list(SIGNALS)
    current = settings.load()
    if as_of is not None and not dry_run:
        raise SettingsError("--as-of: only with --dry-run; a published refresh always uses the present")
    engine = database.connect(
        database.url_of(current, "worker"),
        name="activity recompute",
        read_deadline_s=current.refresh_timeout_s + database.GRACE_S,
    )
    if dry_run:
        recomputing.print_differences(engine, names, tenants, current, as_of)
        return
    requested = recomputing.request(engine, current, names, tenants, requested_by=getpass.getuser(), is_full=full)
    for refresh_id, name in requested.items():
        click.echo(f"{name}: requested as refresh {refresh_id}")
    if wait:
        recomputing.wait(engine, requested, timeout_s=timeout)
