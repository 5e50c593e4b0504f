"""The views that every query reads, and the indexes for reading all tenants at once.

Revision ID: 097_activity_source_views
Revises: 096_activity_snapshots
"""

from __future__ import annotations

from typing import Final

from alembic import op

from migrations import views
from migrations.objects import create_index, drop_recorded

revision = "097_activity_source_views"
down_revision = "096_activity_snapshots"
branch_labels = None
depends_on = None

INDEXES: Final = (
    # One tenant's pattern window: `activity compute`, a refresh of some tenants.
    ("ix_signals_traces_tenant_started", "public.aos_traces", "(tenant_id, started_at)"),
    # The pattern window of all tenants.
    ("ix_signals_traces_started", "public.aos_traces", "(started_at)"),
    # The current day of the cost analysis, of all tenants.
    ("ix_signals_runs_started", "public.runs", "(started_at)"),
    # The baseline of the cost analysis and the attention queue, of all tenants.
    ("ix_signals_runs_completed", "public.runs", "(completed_at)"),
)


def upgrade() -> None:
    views.create(op.get_bind(), views.SOURCE)
    for name, table, definition in INDEXES:
        create_index(name, table, definition, revision)


def downgrade() -> None:
    drop_recorded(revision)
    views.drop(op.get_bind(), views.SOURCE)
