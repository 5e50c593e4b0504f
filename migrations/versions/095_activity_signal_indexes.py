"""The specification's indexes, built without blocking writers.

Revision ID: 095_activity_signal_indexes
Revises: 094_limit_overrides
"""

from __future__ import annotations

from typing import Final

from migrations.objects import create_index, drop_recorded

revision = "095_activity_signal_indexes"
down_revision = "094_limit_overrides"
branch_labels = None
depends_on = None

COST: Final = "(tenant_id, agent_id, estimated_cost_usd, completed_at) where estimated_cost_usd is not null"
INDEXES: Final = (
    # Runs by dimension.
    ("idx_runs_tenant_provider", "public.runs", "(tenant_id, provider_type)"),
    ("idx_runs_tenant_source", "public.runs", "(tenant_id, source)"),
    # Patterns.
    ("idx_aos_trace_steps_skill_retry", "public.aos_trace_steps", "(trace_id, skill_id, retry_count)"),
    ("idx_aos_trace_steps_duration", "public.aos_trace_steps", "(trace_id, duration_ms)"),
    # Cost.
    ("idx_runs_tenant_agent_cost", "public.runs", COST),
)


def upgrade() -> None:
    for name, table, definition in INDEXES:
        create_index(name, table, definition, revision)


def downgrade() -> None:
    drop_recorded(revision)
