"""The weights of the attention score: frozen constants of the contract, not settings (R25)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Change both together, and only as a new version of the contract.
WEIGHTS_VERSION: Final = "1.0"
ATTENTION_WEIGHTS: Final = {
    "risk": 0.35,
    "impact": 0.25,
    "latency": 0.15,
    "recency": 0.15,
    "evidence": 0.10,
}
_TOLERANCE: Final = 1e-9


class WeightsError(ActivityError):
    """The weights of the attention score do not add up to 1."""


def check_weights(weights: Mapping[str, float]) -> None:
    """Raise WeightsError unless `weights` add up to 1; an `assert` would vanish under -O."""
    total = math.fsum(weights.values())
    if not math.isclose(total, 1.0, abs_tol=_TOLERANCE):
        raise WeightsError(f"attention weights: add up to {total}; expected 1")


check_weights(ATTENTION_WEIGHTS)
