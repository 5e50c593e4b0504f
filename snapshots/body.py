"""The body of a snapshot response: stored texts joined as bytes, never parsed.

`window`, then what the signal says, then `snapshot`: the content is stored without the other two, since they move at
each refresh and it does not. The worker's preview and the API share this module, so both print the same body.
Source: docs/specification-notes.md#snapshot-times, docs/specification-notes.md#attention-queue-length,
    docs/specification-notes.md#kept-versions, docs/specification-notes.md#utc.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from snapshots.errors import ActivityError
from snapshots.signal_catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Items of the attention queue in `content`, and in a response that names no limit.
DEFAULT_LIMIT: Final = 20
#: A snapshot is stale after two periods without a refresh, and this on top for the refresh itself.
STALE_GRACE: Final = timedelta(seconds=30)
#: The member that holds the items, with which the content of each signal begins.
ITEM_LISTS: Final = {name: definition.item_list for name, definition in CATALOGUE.items()}
#: What every content with sliceable items begins with.
_QUEUE: Final = '{"queue":['


class MalformedContentError(ActivityError):
    """A stored content is not what its items make."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Times and versions of a snapshot: its `snapshot` member. `period_s` is in seconds."""

    as_of: datetime
    computed_at: datetime
    version: int
    rule_version: str
    verified_at: datetime
    period_s: int

    @property
    def next_refresh_at(self) -> datetime:
        """Return the time at which the next refresh is due."""
        return self.verified_at + timedelta(seconds=self.period_s)

    @property
    def stale_after(self) -> datetime:
        """The last instant at which the snapshot is fresh."""
        return self.verified_at + timedelta(seconds=2 * self.period_s) + STALE_GRACE

    def as_json(self) -> bytes:
        """Return the `snapshot` member's value."""
        return _member(
            as_of=instant(self.as_of),
            computed_at=instant(self.computed_at),
            version=self.version,
            rule_version=self.rule_version,
            stale_after=instant(self.stale_after),
            next_refresh_at=instant(self.next_refresh_at),
            verified_at=instant(self.verified_at),
        )


@dataclass(frozen=True, slots=True)
class PastProvenance:
    """The same of a kept version: nothing refreshes it, and it was confirmed when it was computed.

    `replaced_at` is the instant of the version that came after, None while there is none.
    """

    as_of: datetime
    computed_at: datetime
    version: int
    rule_version: str
    replaced_at: datetime | None

    @property
    def verified_at(self) -> datetime:
        """Return the time at which it was computed."""
        return self.computed_at

    @property
    def stale_after(self) -> datetime:
        """Never: it answers for its own instant."""
        return datetime.max.replace(tzinfo=UTC)

    def as_json(self) -> bytes:
        """Return the `snapshot` member's value."""
        return _member(
            as_of=instant(self.as_of),
            computed_at=instant(self.computed_at),
            version=self.version,
            rule_version=self.rule_version,
            stale_after=None,
            next_refresh_at=None,
            verified_at=instant(self.verified_at),
            replaced_at=None if self.replaced_at is None else instant(self.replaced_at),
        )


def _member(**members: object) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def instant(moment: datetime) -> str:
    """Return `moment` as RFC 3339 in UTC with six fraction digits; a naive one holds UTC."""
    return in_utc(moment).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def in_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC, whatever zone a session or a caller gave it; a naive one holds UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def join(window: str | None, content: str, snapshot: bytes) -> bytes:
    """Return the body: `window` first where there is one, the members of `content`, `snapshot` last.

    `window` and `snapshot` are JSON values, `content` is a JSON object without these two members.
    """
    members = content[1:-1].encode()
    head = b"" if window is None else b'"window":' + window.encode()
    return b"{" + b",".join(part for part in (head, members, b'"snapshot":' + snapshot) if part) + b"}"


def slice_items(content: str, items: Sequence[str] | None, limit: int, default: int = DEFAULT_LIMIT) -> str:
    """Return `content` with its first `limit` items instead of its first `default` ones.

    `items` are all that are stored, each as JSON; None and none alike leave `content` as it is.
    Raises MalformedContentError when `content` does not begin with its items.
    """
    if not items or limit == default:
        return content
    stored = f"{_QUEUE}{','.join(items[:default])}]"
    if not content.startswith(stored):
        raise MalformedContentError("snapshot.content does not begin with its items; expected the queue first")
    return f"{_QUEUE}{','.join(items[:limit])}]{content[len(stored) :]}"


def cut_items(content: str, member: str, lengths: Sequence[int]) -> tuple[str, ...]:
    """Return the items of `content`, each as JSON, from their lengths in characters; `member` holds them, first of all.

    Raises MalformedContentError when they do not fill the list.
    """
    items, start = [], len(member) + len('{"":[')
    for length in lengths:
        items.append(content[start : start + length])
        start += length + 1
    parts_of(content, member, items)
    return tuple(items)


def parts_of(content: str, member: str, items: Sequence[str]) -> tuple[str, str]:
    """Return what stands in `content` before and after `items`, which are all of its list `member`.

    Raises MalformedContentError when `content` does not begin with that list.
    """
    head = f'{{"{member}":['
    end = len(head) + sum(map(len, items)) + max(0, len(items) - 1)
    if not content.startswith(head) or content[end : end + 1] != "]":
        raise MalformedContentError(f"snapshot.content does not begin with its items; expected {member} first")
    return content[: len(head)], content[end:]
