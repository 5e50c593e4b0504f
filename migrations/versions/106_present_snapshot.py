"""The look-up behind the snapshot endpoints, planned once per session.

Revision ID: 106_present_snapshot
Revises: 105_ingested_traces
"""

from __future__ import annotations

from alembic import op

from migrations import statements

revision = "106_present_snapshot"
down_revision = "105_ingested_traces"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.run("106_present_snapshot")


def downgrade() -> None:
    op.execute("drop function signals.present_snapshot(text, text, integer, timestamptz, timestamptz)")
