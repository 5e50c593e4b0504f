"""What one refresh reads anew: every tenant of a shard, the tenants it was asked for, or what has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import delete, insert, true

from worker.engine.shards import WHOLE
from worker.engine.stage import stage_tenant
from worker.signals.spec import in_stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Table

    from worker.engine.shards import Shard
    from worker.signals.spec import Kept

Extent = Literal["every", "tenants", "changed"]


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows that a refresh answers for; `tenants` are named where the extent is `tenants`.

    `excluded` are the tenants that are set aside: their facts and snapshots stay as they are.
    """

    extent: Extent = "every"
    shard: Shard = WHOLE
    tenants: Sequence[str] | None = None
    excluded: Sequence[str] = ()

    def note_tenants(self, conn: Connection) -> None:
        """Note the tenants that were asked for, as those whose answer is published."""
        if self.tenants is not None:
            conn.execute(insert(stage_tenant), [{"tenant_id": tenant} for tenant in self.tenants])

    def covers(self, kept: Kept) -> ColumnElement[bool]:
        """Return the condition that a kept row is in scope: found anew, or gone."""
        if self.extent == "tenants":
            return self.answers(kept.table)
        mine = self.shard.holds(kept.table.c.tenant_id) & self._includes(kept.table)
        return mine if self.extent == "every" else kept.changed.among(kept.table) & mine

    def answers(self, rows: Table) -> ColumnElement[bool]:
        """Return the condition that a row is of a tenant whose answer this refresh publishes."""
        if self.extent == "every":
            return self.shard.holds(rows.c.tenant_id) & self._includes(rows)
        return in_stage(rows.c.tenant_id, stage_tenant.c.tenant_id)

    def forget_excluded(self, conn: Connection) -> None:
        """Take the tenants that are set aside out of those whose answer is published."""
        if self.excluded:
            conn.execute(delete(stage_tenant).where(stage_tenant.c.tenant_id.in_(self.excluded)))

    def _includes(self, rows: Table) -> ColumnElement[bool]:
        return rows.c.tenant_id.not_in(self.excluded) if self.excluded else true()
