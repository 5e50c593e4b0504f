"""Movement between versions: the state of each item, and an ordered list of changes per tenant.

Every snapshot is published anew by the next refresh, so that each item has its state at once.

Revision ID: 102_movement
Revises: 101_extras
"""

from __future__ import annotations

from typing import Final

from alembic import op

from migrations import statements
from migrations.access import protect_tenant_tables

revision = "102_movement"
down_revision = "101_extras"
branch_labels = None
depends_on = None

TABLES: Final = ("movement", "item_state", "signal_change", "change_counter")


def upgrade() -> None:
    statements.run("102_movement")
    protect_tenant_tables(TABLES)


def downgrade() -> None:
    op.execute("alter table signals.freshness drop column refreshes")
    op.execute("drop function signals.item_fingerprint(text, jsonb)")
    for table in reversed(TABLES):
        op.execute(f"drop table signals.{table}")
