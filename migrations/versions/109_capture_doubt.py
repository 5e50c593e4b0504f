"""Signals whose change capture missed a change, so that their refreshes read every row.

Revision ID: 109_capture_doubt
Revises: 108_session_settings
"""

from __future__ import annotations

from alembic import op

from migrations import statements
from migrations.access import protect_worker_tables

revision = "109_capture_doubt"
down_revision = "108_session_settings"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.run("109_capture_doubt")
    protect_worker_tables(("capture_doubt",))


def downgrade() -> None:
    op.execute("drop table signals.capture_doubt")
