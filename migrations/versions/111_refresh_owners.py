"""Rules that the facts were made with before, so that workers of two versions do not undo each other's facts.

Also an index of the refreshes under way, and views that read numbers of every size from a host's numeric columns.

Revision ID: 111_refresh_owners
Revises: 109_capture_doubt
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import op

from migrations import statements
from migrations.views import SOURCE
from snapshots import host
from snapshots.host_sources import NUMBER, TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snapshots.host import Source

revision = "111_refresh_owners"
down_revision = "109_capture_doubt"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.run("111_refresh_owners")
    conn = op.get_bind()
    found = host.read(conn)
    for view in SOURCE:
        if view.name in _converting(found):
            view.replace(conn)


def _converting(found: Mapping[str, Source]) -> set[str]:
    """Return the views that read a double from a numeric column."""
    return {
        table.view
        for table in TABLES.values()
        for column in table.columns.values()
        if column.kind is NUMBER and found[table.name].host_type(column.name) == "numeric"
    }


def downgrade() -> None:
    op.execute("drop index signals.ix_refresh_running")
    op.execute("alter table signals.fact_state drop column replaced")
