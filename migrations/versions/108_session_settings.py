"""Functions that no session setting of a role or database can alter: zone, date style and search path.

Revision ID: 108_session_settings
Revises: 107_receiver_health
"""

from __future__ import annotations

from alembic import op

from migrations import statements

revision = "108_session_settings"
down_revision = "107_receiver_health"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.run("108_session_settings")


def downgrade() -> None:
    op.execute("drop function signals.present_snapshot(text, text, integer, timestamptz, timestamptz)")
    statements.run("106_present_snapshot")
    for name in ("ensure_history_partition", "drop_history_before"):
        for setting in ("timezone", "datestyle"):
            op.execute(f"alter function signals.{name}(date) reset {setting}")
