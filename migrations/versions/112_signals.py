"""The lookup table of signals instead of lists in constraints, and the items of plain signals.

Revision ID: 112_signals
Revises: 111_refresh_owners
"""

from __future__ import annotations

from alembic import op

from migrations import statements
from migrations.access import grant_signal_lookup, protect_tenant_tables

revision = "112_signals"
down_revision = "111_refresh_owners"
branch_labels = None
depends_on = None

_LISTED = "signal in ('patterns', 'cost', 'attention')"
#: Tables that the worker alone writes go without a reference: a look-up per row would cost each publication.
_REFERENCING = ("refresh", "quarantine", "triage_event")
_CHECKED = (*_REFERENCING, "movement", "item_state", "signal_change")


def upgrade() -> None:
    statements.run("112_signals")
    grant_signal_lookup()
    protect_tenant_tables(("signal_item",))
    for table in _CHECKED:
        op.execute(f"alter table signals.{table} drop constraint ck_{table}_known_signal")
    for table in _REFERENCING:
        op.execute(
            f"alter table signals.{table} add constraint fk_{table}_signal"
            " foreign key (signal) references signals.signal (name)"
        )


def downgrade() -> None:
    for table in _REFERENCING:
        op.execute(f"alter table signals.{table} drop constraint fk_{table}_signal")
    for table in _CHECKED:
        op.execute(f"delete from signals.{table} where not {_LISTED}")
        op.execute(f"alter table signals.{table} add constraint ck_{table}_known_signal check ({_LISTED})")
    op.execute("drop table signals.signal_item")
    op.execute("drop table signals.signal")
