"""`activity keys`: make, list, rotate and revoke API keys."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table

from ops.keys import create_key, list_keys, parse_duration, revoke_key, rotate_key
from snapshots import database, settings, visibility
from snapshots.body import instant
from snapshots.catalogue import OWNER
from snapshots.signals import CAPABILITIES, READING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, RowMapping


_COLUMNS: Final = (
    "key_id",
    "tenant_id",
    "label",
    "capabilities",
    "created_at",
    "expires_at",
    "revoked_at",
    "last_used_at",
)
#: Where nobody looks, no cell is broken. Characters.
_UNBOUNDED_WIDTH: Final = 10_000


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys; a key's secret is shown once, when it is made."""


@keys.command()
@click.option("--tenant", required=True, help="The tenant whose data the key opens.")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    help="What the key may do; repeatable; by default all that only reads.",
)
@click.option("--expires-in", help="Lifetime, such as 12h, 30d or 8w; default unlimited.")
@click.option("--label", default="", help="A note for people: who holds the key.")
def create(tenant: str, capabilities: tuple[str, ...], expires_in: str | None, label: str) -> None:
    """Make a key and print its token, alone, on standard output."""
    lifetime = None if expires_in is None else parse_duration(expires_in)
    with _owner() as conn:
        made = create_key(conn, tenant, capabilities=capabilities or READING, expires_in=lifetime, label=label)
    click.echo(f"key {made.key_id} of tenant {tenant}; its token is shown this once:", err=True)
    click.echo(made.token)


@keys.command("list")
@click.option("--tenant", help="Only the keys of this tenant.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(tenant: str | None, *, as_json: bool) -> None:
    """List the keys, revoked and expired ones included; never their secrets."""
    with _owner() as conn:
        found = [_printable(row) for row in list_keys(conn, tenant)]
    click.echo(json.dumps(found, indent=2)) if as_json else _print_table(found)


@keys.command()
@click.argument("key_id")
@click.option("--grace", default="24h", show_default=True, help="How long the old key still works, such as 90m or 7d.")
def rotate(key_id: str, grace: str) -> None:
    """Make a successor of the key KEY_ID and print its token, alone, on standard output; the old key ends soon.

    The successor has the tenant, the capabilities, the label and the lifetime of the old key.
    """
    duration = parse_duration(grace, option="grace")
    with _owner() as conn:
        done = rotate_key(conn, key_id, grace=duration)
    until = f"key {done.old_key_id} works until {instant(done.old_ends_at)}"
    click.echo(f"key {done.made.key_id} follows, {until}; its token is shown this once:", err=True)
    click.echo(done.made.token)


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke the key KEY_ID: from now on it opens nothing."""
    with _owner() as conn:
        was_live = revoke_key(conn, key_id)
    click.echo(f"key {key_id}: {'revoked' if was_live else 'was revoked before'}")


@contextmanager
def _owner() -> Iterator[Connection]:
    engine = database.connect(
        database.url_of(settings.load(), "owner"), name="activity keys", read_deadline_s=30, hide_parameters=True
    )
    try:
        with engine.begin() as conn:
            visibility.prove(conn, OWNER)
            yield conn
    finally:
        engine.dispose()


def _printable(row: RowMapping) -> dict[str, object]:
    return {str(name): instant(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _print_table(rows: Sequence[Mapping[str, object]]) -> None:
    table = Table(box=None)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold", no_wrap=name == "key_id")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in _COLUMNS))
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNBOUNDED_WIDTH
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, list):
        names = "\n".join(str(name).removeprefix("activity.") for name in value)
        return {frozenset(CAPABILITIES): "all", frozenset(READING): "reading"}.get(frozenset(value), names)
    return "" if value is None else str(value)
