"""Fact columns for the extra fields; a change of a run's agent is marked for its queue.

Revision ID: 101_extras
Revises: 100_quarantine
"""

from __future__ import annotations

from alembic import op

from migrations import capture, statements

revision = "101_extras"
down_revision = "100_quarantine"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.run("101_extras")
    capture.renew(op.get_bind())


def downgrade() -> None:
    statements.run("101_downgrade")
