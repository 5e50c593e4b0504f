"""Published snapshots: one look-up each, remembered for a moment, sent as they are stored (R27, R28)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, func, select

from api.caching import ShortCache
from api.problems import ProblemError
from snapshots.body import DEFAULT_LIMIT, Provenance, instant, join, slice_items
from snapshots.tables import freshness, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Row, Select

    from api.reader import Reader

CACHE_TTL_S: Final = 1.0
_CACHE_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Published:
    """What a tenant is served for a signal: its own content, or the empty one of the slot (version 0)."""

    window: str | None
    content: str
    items: tuple[str, ...]
    provenance: Provenance
    identity: str

    @property
    def weight(self) -> int:
        """About how many bytes it takes to remember."""
        return len(self.content) + sum(map(len, self.items)) + 1024

    def body(self, limit: int = DEFAULT_LIMIT) -> bytes:
        """Return the response, with the first `limit` items where the signal has any."""
        return join(self.window, slice_items(self.content, self.items, limit), self.provenance.as_json())

    def etag(self, limit: int = DEFAULT_LIMIT) -> str:
        """Return the opaque tag: it names the content, whatever instant last confirmed it (R27)."""
        return f"{self.provenance.version}-{self.provenance.rule_version}-{limit}-{self.identity}"

    def headers(self, now: datetime) -> dict[str, str]:
        """Return what every answer says about its age at the instant `now`."""
        return {
            "Snapshot-As-Of": instant(self.provenance.as_of),
            "Snapshot-Verified-At": instant(self.provenance.verified_at),
            "Snapshot-Stale": "?1" if now > self.provenance.stale_after else "?0",
        }


class Snapshots:
    """Reads snapshots, at most once a second per tenant and signal."""

    def __init__(self, reader: Reader, timer: Callable[[], float]) -> None:
        """Take a reader with the reader's role."""
        self._reader = reader
        self._cache: ShortCache[Published] = ShortCache(
            _CACHE_BYTES, CACHE_TTL_S, timer=timer, weigh=lambda published: published.weight
        )

    def find(self, tenant_id: str, signal: str) -> Published:
        """Return what `tenant_id` is served for `signal`.

        Raises ProblemError (503 `snapshot_not_ready`) when the signal was never computed (R28).
        """
        kept = self._cache.get((tenant_id, signal))
        if kept is not None:
            return kept
        for row in self._reader.rows(_statement(tenant_id, signal), tenant_id=tenant_id):
            return self._cache.keep((tenant_id, signal), _published(row, tenant_id, signal))
        raise ProblemError(503, "snapshot_not_ready", f"{signal}: not computed yet; the first refresh is under way")


def _statement(tenant_id: str, signal: str) -> Select[*tuple[Any, ...]]:
    of_tenant = and_(snapshot.c.signal == freshness.c.signal, snapshot.c.tenant_id == tenant_id)
    own = ("version", "content", "items", "window_json", "as_of", "computed_at", "rule_version")
    shared = ("as_of", "verified_at", "period_s", "window_json", "empty_content", "rule_version")
    return (
        select(
            *(freshness.c[name].label(f"slot_{name}") for name in shared),
            *(snapshot.c[name] for name in own),
        )
        .select_from(freshness.outerjoin(snapshot, of_tenant))
        .where(freshness.c.signal == signal, freshness.c.slot == func.signals.slot_of(tenant_id))
    )


def _published(row: Row[Any], tenant_id: str, signal: str) -> Published:
    if row.version is None:
        return Published(
            row.slot_window_json,
            row.slot_empty_content,
            (),
            _of_slot(row),
            _identity(tenant_id, signal, row.slot_empty_content),
        )
    # A refresh that confirms the content moves the slot on; one of this tenant alone moves the snapshot past it.
    slot_is_newer = row.slot_as_of >= row.as_of
    return Published(
        row.slot_window_json if slot_is_newer else row.window_json,
        row.content,
        tuple(row.items or ()),
        _of_tenant(row),
        _identity(tenant_id, signal, instant(row.computed_at)),
    )


def _of_slot(row: Row[Any]) -> Provenance:
    return Provenance(
        as_of=row.slot_as_of,
        computed_at=row.slot_verified_at,
        version=0,
        rule_version=row.slot_rule_version,
        verified_at=row.slot_verified_at,
        period_s=row.slot_period_s,
    )


def _of_tenant(row: Row[Any]) -> Provenance:
    return Provenance(
        # Confirmation moves the instant of what has a window; scores hold for the instant they were computed for (R27).
        as_of=row.as_of if row.slot_window_json is None else max(row.as_of, row.slot_as_of),
        computed_at=row.computed_at,
        version=row.version,
        rule_version=row.rule_version,
        verified_at=row.slot_verified_at,
        period_s=row.slot_period_s,
    )


def _identity(*parts: str) -> str:
    """Return what tells apart equal version numbers: of two tenants, of one that was erased, of two empty contents."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:12]
