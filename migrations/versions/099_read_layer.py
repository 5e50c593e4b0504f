"""What the read layer reads beside the snapshots: a run's traces and steps, attempts, and when a key was last used.

Revision ID: 099_read_layer
Revises: 098_incremental_refresh
"""

from __future__ import annotations

from typing import Final

from alembic import op

from migrations.access import NAMED_TENANT, allow_touching_keys, grant_views
from migrations.objects import create_index, drop_recorded
from snapshots.signals import READER_ROLE

revision = "099_read_layer"
down_revision = "098_incremental_refresh"
branch_labels = None
depends_on = None

#: The twins of tenant_run that pages of the runs list read, each in the order of an index, read on or back. A barrier
#: view that names no order forgets that of the index, and all rows of the tenant are read and sorted for a page. NULLs
#: come where the index has them; the pages read none here.
RUNS_IN_ORDER: Final = (
    ("tenant_run_by_started_at_desc", "started_at desc nulls last"),
    ("tenant_run_by_started_at_asc", "started_at asc nulls first"),
    ("tenant_run_by_completed_at_desc", "completed_at desc nulls first"),
    ("tenant_run_by_completed_at_asc", "completed_at asc nulls last"),
)
VIEWS: Final = ("tenant_step", "tenant_trace", "attempt", *(name for name, _ in RUNS_IN_ORDER))

_STEP_COLUMNS: Final = (
    "step_index, skill_id, skill_name, status, outcome_category, outcome_code, cost_cents, duration_ms, retry_count, "
    '"timestamp"'
)
#: The runs list in its default order, a page at a time.
INDEXES: Final = (("ix_signals_runs_tenant_started", "public.runs", "(tenant_id, started_at desc nulls last)"),)


def upgrade() -> None:
    op.execute(
        "create view signals.tenant_trace with (security_barrier = true) as"
        f" select trace_id, run_id, tenant_id, started_at, is_synthetic from signals.source_trace where {NAMED_TENANT}"
    )
    op.execute(
        "create view signals.tenant_step with (security_barrier = true) as"
        f" select source_trace.trace_id, source_trace.run_id, source_trace.tenant_id, source_trace.started_at,"
        f" {_qualified(_STEP_COLUMNS)} from signals.source_trace inner join signals.source_step"
        f" on source_step.trace_id = source_trace.trace_id where source_trace.{NAMED_TENANT}"
    )
    for name, order in RUNS_IN_ORDER:
        op.execute(
            f"create view signals.{name} with (security_barrier = true) as select source_run.* from signals.source_run"
            f' where {NAMED_TENANT} order by {order}, run_id collate "C"'
        )
    # How refreshes went, without whom they were asked for or what an error quotes.
    op.execute(
        "create view signals.attempt with (security_barrier = true) as"
        " select refresh_id, signal, shard, shards, state, error_class, started_at, finished_at from signals.refresh"
    )
    grant_views(VIEWS, READER_ROLE)
    op.execute("alter table signals.api_key add column last_used_at timestamptz")
    op.execute("comment on column signals.api_key.last_used_at is 'To the minute'")
    allow_touching_keys()
    for name, table, definition in INDEXES:
        create_index(name, table, definition, revision)


def downgrade() -> None:
    drop_recorded(revision)
    op.execute("drop policy api_key_authenticator_touch on signals.api_key")
    op.execute("alter table signals.api_key drop column last_used_at")
    for view in VIEWS:
        op.execute(f"drop view signals.{view}")


def _qualified(columns: str) -> str:
    return ", ".join(f"source_step.{column}" for column in columns.split(", "))
