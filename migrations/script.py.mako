"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Rules: short locks only (indexes CONCURRENTLY, through migrations.objects); the worker and the API of the version before
must keep running against this schema; create only what is absent, drop only what was created; every downgrade works.
"""

from __future__ import annotations

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
