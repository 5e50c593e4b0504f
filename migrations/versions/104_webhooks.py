"""Webhooks and their dead letters.

Revision ID: 104_webhooks
Revises: 103_triage
"""

from __future__ import annotations

from alembic import op

from migrations import statements
from migrations.access import protect_worker_tables

revision = "104_webhooks"
down_revision = "103_triage"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.run("104_webhooks")
    protect_worker_tables(("webhook", "dead_letter"))


def downgrade() -> None:
    op.execute("drop table signals.dead_letter")
    op.execute("drop table signals.webhook")
