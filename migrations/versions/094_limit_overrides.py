"""The revision at which a host joins the chain; it has what this stands for already.

Revision ID: 094_limit_overrides
Revises: 086_runs_o2_schema
"""

from __future__ import annotations

revision = "094_limit_overrides"
down_revision = "086_runs_o2_schema"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing of this revision concerns us."""


def downgrade() -> None:
    """Nothing of this revision concerns us."""
