"""Our tables: snapshots, history, items, freshness, ledger and keys, with the access of each role.

Revision ID: 096_activity_snapshots
Revises: 095_activity_signal_indexes
"""

from __future__ import annotations

from typing import Final

from alembic import op

from migrations import statements
from migrations.access import grant_tables, protect, revoke_lasting

revision = "096_activity_snapshots"
down_revision = "095_activity_signal_indexes"
branch_labels = None
depends_on = None

TABLES: Final = (
    "api_key",
    "attention_item",
    "cost_item",
    "freshness",
    "pattern_item",
    "refresh",
    "snapshot",
    "snapshot_history",
)


def upgrade() -> None:
    statements.run("096_tables")
    statements.run("096_functions")
    protect()
    grant_tables()


def downgrade() -> None:
    revoke_lasting()
    op.execute("drop function signals.drop_history_before(date)")
    op.execute("drop function signals.ensure_history_partition(date)")
    for table in TABLES:
        op.execute(f"drop table signals.{table}")
    op.execute("drop sequence signals.fence")
