"""What a refresh reports: the log line, the ledger row and the tests all read it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

Method = Literal["incremental", "full"]


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """One finished refresh: counts of what its SQL saw and wrote.

    `marks` are the change marks it consumed; `drift` is the number of tenants that a full recompute had to repair, None
    where nothing was compared; `is_drained` tells whether no mark that had been there was left; `tenants_failed` are
    those that are set aside, since their data breaks a query.
    """

    signal: str
    as_of: datetime
    tenants_seen: int
    tenants_changed: int
    history_rows: int
    item_rows: int
    method: Method = "full"
    marks: int = 0
    drift: int | None = None
    is_drained: bool = True
    tenants_failed: int = 0

    @property
    def rows_changed(self) -> int:
        """Return the rows written to snapshots, history and items; 0 when nothing had changed."""
        return self.tenants_changed + self.history_rows + self.item_rows

    def after(self, earlier: RefreshResult) -> RefreshResult:
        """Return the result of both: the counts of two batches of one attempt."""
        return replace(
            self,
            tenants_seen=earlier.tenants_seen + self.tenants_seen,
            tenants_changed=earlier.tenants_changed + self.tenants_changed,
            history_rows=earlier.history_rows + self.history_rows,
            item_rows=earlier.item_rows + self.item_rows,
            marks=earlier.marks + self.marks,
            tenants_failed=max(earlier.tenants_failed, self.tenants_failed),
        )
