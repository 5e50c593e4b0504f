"""Leaving a host for good: triggers, indexes, views, tables and roles, in an order in which nobody waits long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from migrations import capture, detachment, removal, runner, views
from migrations.roles import GROUPS, drop_groups
from ops.adoption.leaving import no_refresh
from ops.owned_tables import metadata
from snapshots.database import connect
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import URL

#: The tables, views, functions and sequences of ours, partitions apart.
KNOWN: Final = frozenset(
    {
        *(each.name for each in metadata.tables.values()),
        *(view.name for view in views.ALL),
        *("alembic_version", "attempt", "detachment", "detached_grant", "fence"),
        *("apply_triage", "drop_history_before", "ensure_history_partition", "item_fingerprint", "present_snapshot"),
        *("slot_of", "mark_runs", "mark_steps", "mark_traces"),
    }
)


def plan(url: URL, *, with_roles: bool) -> Sequence[str]:
    """Return a line for each thing that would go; nothing where nothing of ours is there.

    Raises ActivityError naming what is not ours and in the way.
    """
    engine = connect(url, name="activity uninstall")
    try:
        with engine.connect() as conn:
            if conn.execute(select(func.to_regclass(f"{SCHEMA}.created_object"))).scalar_one() is None:
                return []
            removal.check(conn, KNOWN)
            roles = [f"role {group}, unless something depends on it" for group in GROUPS.values()]
            return [*removal.plan(conn), *(roles if with_roles else [])]
    finally:
        engine.dispose()


def uninstall(url: URL) -> None:
    """Take everything of ours out of the database but the roles; waits for refreshes and long transactions.

    Once it has failed in the middle it can be called again.
    """
    engine = connect(url, name="activity uninstall")
    try:
        with no_refresh(engine) as conn:
            with conn.begin():
                known = detachment.find(conn)
                if known is not None:
                    detachment.forget(conn, known)
            capture.remove(engine)
            runner.downgrade(url, "base")
    finally:
        engine.dispose()


def drop_roles(url: URL) -> Sequence[str]:
    """Drop the group roles that nothing depends on, and return a line for each."""
    return [
        f"role {group}: " + ("dropped" if reason is None else f"stays, {reason}")
        for group, reason in drop_groups(url).items()
    ]
