"""Distribution of ages over slots and over tenants, seconds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from ops.health.state import Spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Crowd:
    """The tenants of a signal: the age of each slot, how many share it, and the slots and ages of those set aside."""

    ages: Mapping[int, float]
    tenants: Mapping[int, int]
    aside: Sequence[tuple[int, float]] = ()

    def spread(self) -> Spread | None:
        """Return the spread over tenants; None where there are none."""
        apart = Counter(slot for slot, _ in self.aside)
        shared = [(age, max(0, self.tenants.get(slot, 0) - apart[slot])) for slot, age in self.ages.items()]
        return spread([*shared, *((age, 1) for _, age in self.aside)])


def spread(ages: Sequence[tuple[float, int]]) -> Spread | None:
    """Return the spread of ages that occur so many times each; None where none occurs."""
    present = sorted((age, times) for age, times in ages if times > 0)
    if not present:
        return None
    ranks = list(accumulate(times for _, times in present))

    def quantile(share: float) -> float:
        return next(age for (age, _), rank in zip(present, ranks, strict=True) if rank >= share * ranks[-1])

    return Spread(quantile(0.5), quantile(0.95), quantile(0.99), present[-1][0])
