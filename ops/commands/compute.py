"""`activity compute`: the body of a signal, computed now, published nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from sqlalchemy import func, select

from ops.arguments import INSTANT, TENANT
from snapshots import database, settings
from snapshots.errors import SettingsError
from snapshots.signals import check_signal
from worker.engine import compute as computation

if TYPE_CHECKING:
    from datetime import datetime


@click.command()
@click.argument("signal")
@click.option("--tenant", required=True, type=TENANT, help="The tenant to compute for.")
@click.option("--as-of", type=INSTANT, help="Compute as of this instant, RFC 3339 with a zone; default now.")
def compute(signal: str, tenant: str, as_of: datetime | None) -> None:
    """Print the response body of SIGNAL (patterns, cost or attention), computed now; publishes nothing."""
    check_signal(signal)
    current = settings.load()
    engine = database.connect(
        database.url_of(current, "worker"),
        name="activity compute",
        read_deadline_s=current.refresh_timeout_s + database.GRACE_S,
    )
    with engine.connect() as conn:
        now = conn.execute(select(func.clock_timestamp())).scalar_one()
        if as_of is not None and as_of > now:
            raise SettingsError(f"--as-of: {as_of.isoformat()} is in the future; expected an instant up to now")
        body = computation.preview(conn, signal, tenant, current, as_of or now)
    engine.dispose()
    click.echo(body)
