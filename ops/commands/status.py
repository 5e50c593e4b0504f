"""`activity status`: how fresh each signal is, what ran last, and who is alive."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click
from sqlalchemy import text

from migrations import detachment
from ops import webhooks
from ops.health import report, watch
from snapshots import settings
from snapshots.body import instant
from snapshots.signals import DETACHED, SCHEMA_REVISION

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(*, as_json: bool) -> None:
    """Report freshness, refreshes, quarantine, queues, workers and beat; exit 1 when something is wrong.

    That is: the schema is of an earlier version, or a signal is stale, or a tenant in quarantine, or the database's
    clock was set back, or a span that was taken in is not written; and where a broker is configured: it does not
    answer, or no worker does, or no beat is active.
    """
    current = settings.load()
    engine = watch.connect(current, "activity status")
    with engine.connect() as conn:
        known = detachment.find(conn)
        behind = _behind(conn)
    since = None if known is None else instant(known.detached_at)
    if since and not as_json:
        click.echo(f"detached since {since}: nothing is refreshed until `activity attach`")
    state = watch.Watch(engine, current).report()
    with engine.connect() as conn:
        told = webhooks.health(conn)
    engine.dispose()
    if as_json:
        whole = {**state.as_dict(), "detached_since": since, "notification": told}
        whole["problems"] = [*behind, *state.problems]
        click.echo(json.dumps(whole, indent=2, default=_printable))
    else:
        click.echo(report.as_text(state))
        if told["webhooks"]:
            click.echo(
                "webhooks: {webhooks}, failing {failing}, disabled {disabled}, dead letters of a day "
                "{dead_letters_24h}".format(**told)
            )
        for problem in behind:
            click.echo(f"PROBLEM: {problem}")
    sys.exit(1 if behind or state.problems else 0)


def _behind(conn: Connection) -> list[str]:
    """Return what is wrong with an older schema; a newer one is what an upgrade begins with."""
    found = conn.execute(text("select version_num from signals.alembic_version")).scalar()
    if found is None or found == DETACHED or found >= SCHEMA_REVISION:
        return []
    return [f"schema: revision {found} found, {SCHEMA_REVISION} expected; run `activity migrate` of this version"]


def _printable(value: object) -> str:
    return instant(value) if isinstance(value, datetime) else str(value)
