"""Rules that the facts were made with before, so that workers of two versions do not undo each other's facts.

And an index of the refreshes under way, so that those of lost workers are found at once.

Revision ID: 111_refresh_owners
Revises: 108_session_settings
"""

from __future__ import annotations

from alembic import op

from migrations import statements

revision = "111_refresh_owners"
down_revision = "108_session_settings"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.run("111_refresh_owners")


def downgrade() -> None:
    op.execute("drop index signals.ix_refresh_running")
    op.execute("alter table signals.fact_state drop column replaced")
