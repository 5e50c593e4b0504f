"""The words that rules know, by column: others are kept as they are, and match no rule."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

WORDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "state": ("LIVE", "COMPLETED"),
        "risk_level": ("NORMAL", "NEAR_THRESHOLD", "AT_RISK", "VIOLATED"),
        "latency_bucket": ("OK", "SLOW", "STALLED"),
        "evidence_health": ("FLOWING", "DEGRADED", "MISSING"),
    }
)
