"""What a refresh reports: the log line, the ledger row and the tests all read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """One finished refresh: counts of what its SQL saw and wrote."""

    signal: str
    as_of: datetime
    tenants_seen: int
    tenants_changed: int
    history_rows: int
    item_rows: int

    @property
    def rows_changed(self) -> int:
        """Return the rows written to snapshots, history and items; 0 when nothing had changed."""
        return self.tenants_changed + self.history_rows + self.item_rows
