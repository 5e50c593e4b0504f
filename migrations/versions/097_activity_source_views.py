"""The views that every query reads, and the indexes for reading all tenants at once.

Revision ID: 097_activity_source_views
Revises: 096_activity_snapshots
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from migrations.access import NAMED_TENANT, grant_views
from migrations.objects import create_index, drop_recorded
from snapshots.signals import READER_ROLE, WORKER_ROLE

revision = "097_activity_source_views"
down_revision = "096_activity_snapshots"
branch_labels = None
depends_on = None

RUN_COLUMNS: Final = (
    "tenant_id, project_id, agent_id, is_synthetic, source, provider_type, state, status, started_at, last_seen_at, "
    "completed_at, duration_ms, risk_level, latency_bucket, evidence_health, integrity_status, incident_count, "
    "policy_draft_count, policy_violation, input_tokens, output_tokens, estimated_cost_usd"
)
STEP_COLUMNS: Final = (
    "trace_id, step_index, skill_id, skill_name, status, outcome_category, outcome_code, cost_cents, duration_ms, "
    'retry_count, "timestamp"'
)

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
    op.execute(f"create view signals.source_run as select id as run_id, {RUN_COLUMNS} from public.runs")
    op.execute(
        f"create view signals.source_trace as select trace_id, run_id, tenant_id, started_at,"
        f" {_synthetic('aos_traces')} from public.aos_traces{_unless_archived('aos_traces')}"
    )
    op.execute(
        f"create view signals.source_step as select {STEP_COLUMNS}"
        f" from public.aos_trace_steps{_unless_archived('aos_trace_steps')}"
    )
    op.execute(
        "create view signals.tenant_run with (security_barrier = true) as"
        f" select run_id, {RUN_COLUMNS} from signals.source_run where {NAMED_TENANT}"
    )
    grant_views(("source_run", "source_trace", "source_step"), WORKER_ROLE)
    grant_views(("tenant_run",), READER_ROLE)
    for name, table, definition in INDEXES:
        create_index(name, table, definition, revision)


def downgrade() -> None:
    drop_recorded(revision)
    for view in ("tenant_run", "source_run", "source_step", "source_trace"):
        op.execute(f"drop view signals.{view}")


def _synthetic(table: str) -> str:
    return "is_synthetic" if _has_column(table, "is_synthetic") else "false as is_synthetic"


def _unless_archived(table: str) -> str:
    return " where archived_at is null" if _has_column(table, "archived_at") else ""


def _has_column(table: str, column: str) -> bool:
    return column in {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table, schema="public")}
