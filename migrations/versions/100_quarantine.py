"""Tenants that are set aside, since their data breaks a query; and how many each refresh left out.

Revision ID: 100_quarantine
Revises: 099_read_layer
"""

from __future__ import annotations

from alembic import op

from migrations import statements
from migrations.access import protect_worker_tables, show_quarantine

revision = "100_quarantine"
down_revision = "099_read_layer"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.run("100_quarantine")
    protect_worker_tables(("quarantine",))
    show_quarantine()


def downgrade() -> None:
    op.execute("drop table signals.quarantine")
    op.execute("alter table signals.refresh drop column tenants_failed")
