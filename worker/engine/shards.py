"""Shards: tenants hash into slots, and shard k of N refreshes the slots that leave k when divided by N.

A shard names itself completely, so that workers with different N may run side by side: those whose slots meet wait for
each other, and what is known per slot holds for any N (ADR 0006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, true

from snapshots.errors import ActivityError
from snapshots.signals import SLOTS

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` of `count`; raises ActivityError unless `count` divides the slots and holds `number`."""

    number: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Refuse a shard that does not exist."""
        if self.count not in COUNTS or not 0 <= self.number < self.count:
            raise ActivityError(
                f"shard: {self.number} of {self.count} does not exist; expected one of {COUNTS} shards, from 0"
            )

    @property
    def slots(self) -> list[int]:
        """Return the slots of the shard, ascending."""
        return list(range(self.number, SLOTS, self.count))

    def holds(self, tenant: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the condition that the tenant in a column is of this shard."""
        return true() if self.count == 1 else func.signals.slot_of(tenant) % self.count == self.number


#: Powers of two: each divides the slots.
COUNTS: Final = tuple(2**power for power in range(SLOTS.bit_length()))
WHOLE: Final = Shard()


def shards(count: int) -> list[Shard]:
    """Return the `count` shards."""
    return [Shard(number, count) for number in range(count)]
