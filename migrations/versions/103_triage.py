"""Triage of items: an append-only list of events, and the state that follows from it.

Revision ID: 103_triage
Revises: 102_movement
"""

from __future__ import annotations

from alembic import op

from migrations import statements
from migrations.access import allow_triage, protect_tenant_tables, revoke_triage

revision = "103_triage"
down_revision = "102_movement"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.run("103_triage")
    protect_tenant_tables(("triage_event", "triage"))
    allow_triage()


def downgrade() -> None:
    revoke_triage()
    op.execute("drop table signals.triage_event")
    op.execute("drop table signals.triage")
    op.execute("drop function signals.apply_triage()")
    # Queues are longer now: what stands beyond the old limit goes, and comes back with the next publication.
    op.execute("delete from signals.attention_item where rank > 100")
    op.execute("alter table signals.attention_item drop constraint ck_attention_item_rank_positive")
    op.execute(
        "alter table signals.attention_item add constraint ck_attention_item_rank_in_top_hundred"
        " check (rank between 1 and 100)"
    )
