"""Traces of other tools: where their spans wait, and the role that takes them in.

Revision ID: 105_ingested_traces
Revises: 104_webhooks
"""

from __future__ import annotations

from alembic import op

from migrations import statements
from migrations.access import open_to_ingest, revoke_ingest

revision = "105_ingested_traces"
down_revision = "104_webhooks"
branch_labels = None
depends_on = None

TABLES = ("ingested_trace", "ingested_span")


def upgrade() -> None:
    statements.run("105_ingested_traces")
    open_to_ingest(TABLES)


def downgrade() -> None:
    revoke_ingest()
    for table in TABLES:
        op.execute(f"drop table signals.{table}")
