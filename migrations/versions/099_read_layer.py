"""Objects that the API reads beside the snapshots: a run's traces and steps, attempts, and the last use of a key.

Revision ID: 099_read_layer
Revises: 098_incremental_refresh
"""

from __future__ import annotations

from typing import Final

from alembic import op

from migrations import views
from migrations.access import allow_touching_keys, grant_views
from migrations.objects import create_index, drop_recorded
from snapshots.signals import READER_ROLE

revision = "099_read_layer"
down_revision = "098_incremental_refresh"
branch_labels = None
depends_on = None

#: The runs list in its default order, a page at a time.
INDEXES: Final = (("ix_signals_runs_tenant_started", "public.runs", "(tenant_id, started_at desc nulls last)"),)


def upgrade() -> None:
    views.create(op.get_bind(), views.TENANT)
    # How refreshes went, without whom they were asked for or what an error quotes.
    op.execute(
        "create view signals.attempt with (security_barrier = true) as"
        " select refresh_id, signal, shard, shards, state, error_class, started_at, finished_at from signals.refresh"
    )
    grant_views(("attempt",), READER_ROLE)
    op.execute("alter table signals.api_key add column last_used_at timestamptz")
    op.execute("comment on column signals.api_key.last_used_at is 'To the minute'")
    allow_touching_keys()
    for name, table, definition in INDEXES:
        create_index(name, table, definition, revision)


def downgrade() -> None:
    drop_recorded(revision)
    op.execute("drop policy api_key_authenticator_touch on signals.api_key")
    op.execute("alter table signals.api_key drop column last_used_at")
    op.execute("drop view signals.attempt")
    views.drop(op.get_bind(), views.TENANT)
