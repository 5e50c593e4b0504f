"""Health of the receiver, for monitoring.

Revision ID: 107_receiver_health
Revises: 106_present_snapshot
"""

from __future__ import annotations

from migrations.access import hide_ingest, show_ingest

revision = "107_receiver_health"
down_revision = "106_present_snapshot"
branch_labels = None
depends_on = None


def upgrade() -> None:
    show_ingest()


def downgrade() -> None:
    hide_ingest()
