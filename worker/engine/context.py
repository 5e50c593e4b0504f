"""Carriers of the refresh engine: what is requested, what one refresh knows, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sqlalchemy import true

from worker.engine.shards import WHOLE
from worker.engine.stage import stage_tenant
from worker.signals.spec import in_stage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from snapshots.settings import Settings
    from worker.engine.shards import Shard
    from worker.signals.spec import Fact, SignalSpec

Mode = Literal["tick", "reconcile", "manual"]
Method = Literal["incremental", "full"]
#: `changed` recomputes what change events and window edges name, `full` every tenant, `tenants` those that are named.
Plan = Literal["changed", "full", "tenants"]


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """A refresh as it is asked for: one row of the ledger.

    `tenants` None is every tenant of the shard. `is_full` also recomputes everything and compares; a reconcile does.
    `requested_by` is for people.
    """

    signal: str
    mode: Mode = "tick"
    requested_by: str = "schedule"
    shard: Shard = WHOLE
    tenants: Sequence[str] | None = None
    is_full: bool = False

    @property
    def stays(self) -> bool:
        """Tell whether it stays requested when a lock is taken; a tick is answered by the next one."""
        return self.mode != "tick"


@dataclass(frozen=True, slots=True)
class RefreshContext:
    """One refresh under way: its request, the instant it answers for, and the tenants it leaves out.

    `fence` is the fencing token: an older refresh cannot overwrite a newer one. `excluded` are the tenants of the shard
    in quarantine, whose facts and snapshots stay as they are. `is_doubted` marks refreshes that compare all rows, since
    change capture missed a change; `is_renewed` the first publication under other rules.
    """

    spec: SignalSpec
    settings: Settings
    refresh_id: int
    as_of: datetime
    fence: int
    shard: Shard = WHOLE
    tenants: Sequence[str] | None = None
    excluded: Sequence[str] = ()
    plan: Plan = "full"
    is_doubted: bool = False
    is_renewed: bool = False

    def excluding(self, tenants: Sequence[str]) -> RefreshContext:
        """Return the same refresh without some more tenants."""
        return replace(self, excluded=(*self.excluded, *tenants))

    def period_s(self, *, is_captured: bool = True) -> int:
        """Return the seconds until the next refresh; longer where every row has to be read."""
        return self.settings.period_s(self.spec.name, is_captured=is_captured and not self.is_doubted)

    def parameters(self) -> dict[str, object]:
        """Return the parameters of the signal's queries for the rows that this refresh reads."""
        return self.spec.parameters(
            self.settings,
            self.as_of,
            self.tenants,
            shard=self.shard,
            only_changed=self.plan == "changed",
            excluded=() if self.tenants is not None else self.excluded,
        )

    def covers(self, fact: Fact) -> ColumnElement[bool]:
        """Return the condition that a row of a fact table is one that this refresh recomputes."""
        tenant = fact.table.c.tenant_id
        if self.plan == "tenants":
            return in_stage(tenant, stage_tenant.c.tenant_id)
        mine = self.shard.holds(tenant) & (tenant.not_in(self.excluded) if self.excluded else true())
        return mine if self.plan == "full" else fact.changed.among(fact.table) & mine


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """One finished refresh, or one batch of it: what its SQL read and wrote, for the ledger, the log and the tests.

    `marks` are the change events it consumed, up to the place `last` in their queue; `drift` is the number of tenants
    that a full recompute had to repair, None where nothing was compared; `is_drained` tells whether no change event was
    left of those that had been there; `tenants_failed` are those in quarantine.
    """

    signal: str
    as_of: datetime
    tenants_seen: int
    tenants_changed: int
    history_rows: int
    item_rows: int
    method: Method = "full"
    marks: int = 0
    last: str | None = None
    drift: int | None = None
    is_drained: bool = True
    tenants_failed: int = 0

    @property
    def rows_changed(self) -> int:
        """Return the rows written to snapshots, history and items; 0 when nothing had changed."""
        return self.tenants_changed + self.history_rows + self.item_rows

    def after(self, earlier: RefreshResult | None) -> RefreshResult:
        """Return the result of two batches of one refresh together."""
        if earlier is None:
            return self
        return replace(
            self,
            tenants_seen=earlier.tenants_seen + self.tenants_seen,
            tenants_changed=earlier.tenants_changed + self.tenants_changed,
            history_rows=earlier.history_rows + self.history_rows,
            item_rows=earlier.item_rows + self.item_rows,
            marks=earlier.marks + self.marks,
            tenants_failed=max(earlier.tenants_failed, self.tenants_failed),
        )
