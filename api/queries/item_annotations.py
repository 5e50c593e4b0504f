"""Item annotations: fingerprint, movement and triage, added to a stored item when it is read.

The stored texts are joined, never parsed: an item is a JSON object, and what it carries is put before its last brace.
Source: docs/specification-notes.md#content-and-confirmation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Row

#: Where a mark holds the fingerprint.
_FINGERPRINT: Final = slice(15, 47)
_NOTHING: Final = ("open", "null")


@dataclass(frozen=True, slots=True)
class ItemAnnotations:
    """Annotations of a list's items. `marks` and `entered` are in the items' order, `refreshes` counts the slot's.

    `day` maps fingerprints to their movement since 24 hours ago, where there was any; `departed` and `left` are what
    left with this version and in 24 hours, as JSON. `triage` maps fingerprints to a state and the member as JSON.
    """

    marks: Sequence[str]
    entered: Sequence[int]
    refreshes: int
    departed: str
    left: str
    day: Mapping[str, str] = field(default_factory=dict)
    triage: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        """About how many bytes it takes to remember."""
        apart = 100 * len(self.day) + 400 * len(self.triage)
        return 200 * len(self.marks) + apart + len(self.departed) + len(self.left)

    def item(self, place: int, text: str) -> str:
        """Return the item `text`, which stands at `place` (from 0), with what it carries."""
        mark = self.marks[place]
        present = max(1, self.refreshes - self.entered[place] + 1)
        fingerprint = mark[_FINGERPRINT]
        since = self.day.get(fingerprint, "same")
        said = self.triage.get(fingerprint, _NOTHING)[1]
        return f'{text[:-1]},{mark},"refreshes_present":{present},"since_24h":"{since}"}},"triage":{said}}}'

    def is_snoozed(self, place: int) -> bool:
        """Tell whether the item at `place` is not to be shown to those who hide what is snoozed."""
        return self.triage.get(self.marks[place][_FINGERPRINT], _NOTHING)[0] == "snoozed"

    def page(self, items: Sequence[str], limit: int, *, hides: bool) -> tuple[str, int]:
        """Return the first `limit` of `items`, joined, and how many were taken out before, since they are snoozed."""
        if not hides:
            return ",".join(self.item(place, text) for place, text in enumerate(items[:limit])), 0
        shown = [place for place in range(len(items)) if not self.is_snoozed(place)]
        return ",".join(self.item(place, items[place]) for place in shown[:limit]), len(items) - len(shown)

    def member(self) -> str:
        """Return the `movement` member of the body."""
        return f'"movement":{{"left_since_previous":{self.departed},"left_24h":{self.left}}}'

    def tag(self) -> str:
        """Return what differs when the overlay does, the count of refreshes aside, which moves with each."""
        return f"{sorted(self.day.items())}{self.left}{sorted(self.triage.items())}"


def of(row: Row[Any]) -> ItemAnnotations | None:
    """Return the overlay of a row of `signals.present_snapshot`; None where nothing was recorded."""
    if row.marks is None:
        return None
    return ItemAnnotations(
        row.marks, row.entered, row.refreshes, row.departed, row.left_24h, row.since_24h or {}, row.triage or {}
    )
