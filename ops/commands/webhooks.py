"""`activity webhooks`: where changes are told to."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from ops import webhooks as hooks
from snapshots import database, settings, visibility
from snapshots.body import instant
from snapshots.catalogue import OWNER
from snapshots.movement import KINDS
from snapshots.signals import SIGNALS
from snapshots.webhooks import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

_LINE: Final = "{webhook_id}  {tenant_id}  {host}  {format}  attempts {attempts}  dead letters {dead_letters}  {state}"


@click.group()
def webhooks() -> None:
    """Add, list, test and remove webhooks; a webhook's secret is shown once, when it is added."""


@webhooks.command()
@click.option("--tenant", required=True, help="The tenant whose changes it is told of.")
@click.option("--url", required=True, help="Where to; https, and an address of the public internet.")
@click.option("--format", "written", type=click.Choice(FORMATS), default="standard", show_default=True)
@click.option("--signal", "signals", multiple=True, help="Only this signal; repeatable; default all.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind of change; repeatable; default all.")
def add(tenant: str, url: str, written: str, signals: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    """Add a webhook and print its secret, alone, on standard output; it is told of what changes from now on."""
    current = settings.load()
    with _owner() as conn:
        made, secret = hooks.add(
            conn, current, tenant, url, written=written, signals=signals or SIGNALS, kinds=kinds or KINDS
        )
    click.echo(f"webhook {made} of tenant {tenant}; its secret is shown this once:", err=True)
    click.echo(secret)


@webhooks.command("list")
@click.option("--tenant", help="Only the webhooks of this tenant.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def list_(tenant: str | None, *, as_json: bool) -> None:
    """List the webhooks; never their secrets, and of their URLs the host alone."""
    with _owner() as conn:
        found = [dict(row) for row in hooks.listed(conn, tenant)]
    if as_json:
        click.echo(json.dumps(found, indent=2, default=_printable))
        return
    if not found:
        click.echo("no webhooks" if tenant is None else f"no webhooks of tenant {tenant}")
    for row in found:
        state = "disabled" if row["disabled_at"] else row["error"] or "well"
        click.echo(_LINE.format(**row, state=state))


@webhooks.command()
@click.argument("webhook_id", type=int)
def test(webhook_id: int) -> None:
    """Send the webhook WEBHOOK_ID a message without changes; exit 1 when it does not take it."""
    current = settings.load()
    with _engine() as engine:
        outcome = hooks.try_out(engine, current, webhook_id)
    click.echo(f"webhook {webhook_id}: {outcome.words()}")
    sys.exit(0 if outcome.is_delivered else 1)


@webhooks.command()
@click.argument("webhook_id", type=int)
def remove(webhook_id: int) -> None:
    """Forget the webhook WEBHOOK_ID and its dead letters."""
    with _owner() as conn:
        hooks.remove(conn, webhook_id)
    click.echo(f"webhook {webhook_id}: removed")


@contextmanager
def _owner() -> Iterator[Connection]:
    """Yield a connection of the owner in a transaction that commits."""
    with _engine() as engine, engine.begin() as conn:
        yield conn


@contextmanager
def _engine() -> Iterator[Engine]:
    """Yield an engine of the owner."""
    engine = database.connect(database.url_of(settings.load(), "owner"), name="activity webhooks", read_deadline_s=30)
    try:
        visibility.prove_engine(engine, OWNER)
        yield engine
    finally:
        engine.dispose()


def _printable(value: object) -> str:
    return instant(value) if isinstance(value, datetime) else str(value)
