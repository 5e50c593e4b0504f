"""Objects of the incremental refresh: change queues, facts, and freshness per slot of tenants.

The triggers that fill the queues are a host's own decision: `activity capture install` (migrations.capture).

Revision ID: 098_incremental_refresh
Revises: 097_activity_source_views
"""

from __future__ import annotations

from typing import Final

from alembic import op

from migrations import capture, statements
from migrations.access import protect_worker_tables
from migrations.objects import create_index, drop_recorded

revision = "098_incremental_refresh"
down_revision = "097_activity_source_views"
branch_labels = None
depends_on = None

TABLES: Final = (
    "agent_cost",
    "attention_fact",
    "dirty_agent",
    "dirty_run",
    "dirty_trace",
    "fact_state",
    "run_pattern",
    "trace_fact",
)


_PRICED: Final = "where estimated_cost_usd is not null"
_BESIDES: Final = "include (completed_at, estimated_cost_usd, is_synthetic)"
INDEXES: Final = (
    # An agent's runs of a window, without a look at the table: the cost analysis of the agents that changed.
    (
        "ix_signals_runs_agent_completed",
        "public.runs",
        f"(tenant_id, agent_id, completed_at) include (started_at, estimated_cost_usd, is_synthetic) {_PRICED}",
    ),
    # The runs that ended before they began, all but none: the current day finds the others by their end.
    (
        "ix_signals_runs_backwards",
        "public.runs",
        f"(tenant_id, agent_id, started_at) {_BESIDES} {_PRICED} and completed_at < started_at",
    ),
)


def upgrade() -> None:
    statements.run("098_incremental")
    protect_worker_tables(TABLES)
    for name, table, definition in INDEXES:
        create_index(name, table, definition, revision)


def downgrade() -> None:
    drop_recorded(revision)
    capture.drop(op.get_bind())
    for table in TABLES:
        op.execute(f"drop table signals.{table}")
    statements.run("098_downgrade")
