"""`activity erase`: forget a tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from ops.confirmation import confirm
from snapshots import database, settings
from snapshots.errors import ArgumentError
from snapshots.pooling import session_url
from worker.housekeeping.erase import erase as erase_tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.housekeeping.erase import Erasure

#: Rows of ours are waited for so long, seconds; nothing is removed then.
_LOCK_TIMEOUT_S: Final = 60


@click.command()
@click.option("--tenant", required=True, help="The tenant to forget.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(tenant: str, *, yes: bool) -> None:
    """Remove everything of a tenant from schema signals: snapshots, history, items, facts, marks, keys, requests.

    The host's rows stay, and bring the tenant back at the next refresh: delete them first.
    """
    if not tenant or "\0" in tenant:
        raise ArgumentError("--tenant: expected the name of a tenant")
    confirm(f"Forget tenant {tenant!r}, its API keys included?", yes=yes)
    url = session_url(settings.load(), "owner")
    engine = database.connect(url, name="activity erase", lock_timeout_s=_LOCK_TIMEOUT_S, hide_parameters=True)
    try:
        for line in _lines(tenant, erase_tenant(engine, tenant)):
            click.echo(line)
    finally:
        engine.dispose()


def _lines(tenant: str, done: Erasure) -> Iterator[str]:
    removed = [f"{name} {count}" for name, count in done.removed.items() if count]
    yield f"tenant {tenant!r}: removed {', '.join(removed)}" if removed else f"tenant {tenant!r}: nothing was there"
    if done.remaining is None:
        yield "the host's tables are detached: whether they hold rows of the tenant was not looked at"
    elif any(done.remaining.values()):
        left = ", ".join(f"{count} {name}" for name, count in done.remaining.items())
        yield f"still in the host's tables: {left}; the next refresh computes the tenant anew from them"
