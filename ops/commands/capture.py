"""`activity capture`: the triggers that tell a refresh what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from sqlalchemy import func, select, text

from migrations import capture as triggers
from snapshots import database, settings, visibility
from snapshots.signals import WORKER_ROLE
from snapshots.source import HOST_TABLES
from worker.engine import capture_trust, change_queue
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

#: A longer queue is counted no further.
_COUNTED: Final = 1_000_000


@click.group()
def capture() -> None:
    """Install, remove or inspect the triggers that mark what changed in runs, aos_traces and aos_trace_steps."""


@capture.command()
def install() -> None:
    """Create the triggers, or replace them; refreshes then cost what changed. Needs the tables' owner."""
    engine = _owner()
    triggers.install(engine)
    click.echo(f"changes of {_tables(engine)} are captured; the next refresh of each signal is a full one")
    engine.dispose()


@capture.command()
def remove() -> None:
    """Drop the triggers; refreshes then read every row, at a slower period."""
    engine = _owner()
    triggers.remove(engine)
    click.echo(f"changes of {_tables(engine)} are not captured any more")
    engine.dispose()


@capture.command()
@click.pass_context
def status(ctx: click.Context) -> None:
    """Print, per signal, whether changes are captured, or why not, and the marks that wait; exit 1 if some are not."""
    engine = database.connect(database.url_of(settings.load(), "worker"), name="activity capture", read_deadline_s=30)
    visibility.prove_engine(engine, WORKER_ROLE)
    with engine.connect() as conn:
        captured = [_tell(conn, name) for name in SIGNALS]
    engine.dispose()
    ctx.exit(0 if all(captured) else 1)


def _owner() -> Engine:
    return database.connect(database.url_of(settings.load(), "owner"), name="activity capture")


def _tables(engine: Engine) -> str:
    with engine.connect() as conn:
        return ", ".join(triggers.places(conn).values())


def _read_in_full(conn: Connection, views: Sequence[str]) -> str:
    """Return the host's names of the tables that the views read."""
    named = text(
        f"select cast(cast(host.relation as regclass) as text) from {HOST_TABLES} as host"  # noqa: S608  # a constant
        " where host.source = any(:views) order by 1"
    )
    return ", ".join(conn.execute(named, {"views": list(views)}).scalars()) or "tables of a detached host"


def _tell(conn: Connection, name: str) -> bool:
    signal = SIGNALS[name]
    trust = capture_trust.read(conn, signal)
    waiting = change_queue.backlog(conn, signal, at_most=_COUNTED)
    size = conn.execute(select(func.pg_total_relation_size(f"signals.{signal.changes.queue.name}"))).scalar_one()
    state = "captured" if trust.is_captured else f"NOT captured: {_read_in_full(conn, signal.sources)} read in full"
    click.echo(f"{name}: {state}; {waiting}{'+' if waiting == _COUNTED else ''} marks wait in {size // 1024} kB")
    for loss in trust.losses:
        click.echo(f"  {loss}")
    return trust.is_captured
