"""One refresh's claim to publish, which the parts of publication share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from worker.scope import Scope
    from worker.signal import Signal


@dataclass(frozen=True, slots=True)
class Publication:
    """Which signal, as of when, for whom, and under which fence number."""

    signal: Signal
    as_of: datetime
    fence: int
    refresh_id: int
    scope: Scope
