"""One refresh's claim to publish, which the parts of publication share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from worker.engine.scope import Scope
    from worker.signals.spec import Signal


@dataclass(frozen=True, slots=True)
class Publication:
    """Which signal, as of when, for whom, and under which fence number.

    `is_renewed` marks the first publication under other rules: content that ages with the clock is written anew.
    """

    signal: Signal
    as_of: datetime
    fence: int
    refresh_id: int
    scope: Scope
    is_renewed: bool = False
