"""Published snapshots: one look-up each, remembered for a moment, sent as they are stored.

Source: docs/specification-notes.md#etag-and-age-headers, docs/specification-notes.md#unready-and-empty-snapshots,
docs/specification-notes.md#kept-versions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, BigInteger, DateTime, Integer, Text, bindparam, column, func, null, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY

from api.http.caching import ShortCache
from api.http.problems import ProblemError
from api.queries import item_annotations
from snapshots.body import (
    DEFAULT_LIMIT,
    ITEM_LISTS,
    PastProvenance,
    Provenance,
    cut_items,
    instant,
    join,
    parts_of,
    slice_items,
)
from snapshots.tables import snapshot, snapshot_history

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import ColumnClause, Row, Select

    from api.queries.reader import Reader

CACHE_TTL_S: Final = 1.0
_CACHE_BYTES: Final = 2**20
#: Items of a queue that are read for requests whose limit allows it; the others are read for those that need them.
FEW_ITEMS: Final = 40
ALL_ITEMS: Final = 1_000_000
_DAY: Final = timedelta(hours=24)


#: What `signals.present_snapshot` returns, in order.
_COLUMNS: Final[tuple[ColumnClause[Any], ...]] = (
    column("refreshes", BigInteger),
    *(column(name, ARRAY(Text)) for name in ("items", "marks")),
    column("entered", ARRAY(BigInteger)),
    column("lengths", ARRAY(Integer)),
    column("departed", Text),
    column("since_24h", JSON),
    column("left_24h", Text),
    column("triage", JSON),
    *(column(f"slot_{name}", DateTime(timezone=True)) for name in ("as_of", "verified_at")),
    column("slot_period_s", Integer),
    *(column(f"slot_{name}", Text) for name in ("window_json", "empty_content", "rule_version")),
    column("version", BigInteger),
    *(column(name, Text) for name in ("content", "window_json")),
    *(column(name, DateTime(timezone=True)) for name in ("as_of", "computed_at")),
    column("rule_version", Text),
    *(column(name, DateTime(timezone=True)) for name in ("failing_since", "confirmed_as_of")),
    column("confirmed_window_json", Text),
)


def _present() -> Select[*tuple[Any, ...]]:
    """Return the look-up of what a tenant is served: built once, since that takes longer than running it.

    It is a function of the database's (migration 106), whose session plans it once: planning took three times as long
    as running it.
    """
    asked = (bindparam("tenant", type_=Text), bindparam("signal", type_=Text), bindparam("shown", type_=Integer))
    instants = (bindparam(name, type_=DateTime(timezone=True)) for name in ("now", "day_ago"))
    found = func.signals.present_snapshot(*asked, *instants).table_valued(*_COLUMNS).alias("present")
    return select(*found.c)


_PRESENT: Final = _present()


@dataclass(frozen=True, slots=True)
class Published:
    """Snapshot that a tenant is served: its own content, or the empty one of its slot (version 0).

    `items` are those that are stored apart, and `lengths` cuts the others out of the content; `extras` is what they
    carry beside. `read_at` is when it was read, by the caches' timer, seconds.
    """

    window: str | None
    content: str
    items: tuple[str, ...]
    provenance: Provenance | PastProvenance
    identity: str
    signal: str = "attention"
    lengths: tuple[int, ...] = ()
    extras: item_annotations.ItemAnnotations | None = None
    read_at: float = 0.0

    @property
    def weight(self) -> int:
        """About how many bytes it takes to remember."""
        extras = 0 if self.extras is None else self.extras.weight
        return len(self.content) + sum(map(len, self.items)) + extras + 1024

    def body(self, limit: int = DEFAULT_LIMIT, *, hides: bool = False) -> bytes:
        """Return the response, with the first `limit` items where the signal's list has a limit.

        With `hides` what is snoozed is taken out before that.
        """
        return join(self.window, self._content(limit, hides=hides), self.provenance.as_json())

    def _content(self, limit: int, *, hides: bool) -> str:
        if self.extras is None:
            return slice_items(self.content, self.items, limit)
        member = ITEM_LISTS[self.signal]
        items = self.items or cut_items(self.content, member, self.lengths)
        head, tail = parts_of(self.content, member, items[:DEFAULT_LIMIT] if self.items else items)
        listed, hidden = self.extras.page(items, limit if self.items else len(items), hides=hides)
        counted = f',"snoozed_hidden":{hidden}' if hides else ""
        return f"{head}{listed}{tail[:-1]},{self.extras.member()}{counted}}}"

    def etag(self, limit: int = DEFAULT_LIMIT, *, hides: bool = False) -> str:
        """Return the opaque tag: it names the content, whatever instant last confirmed it."""
        hidden = "-hidden" if hides else ""
        return f"{self.provenance.version}-{self.provenance.rule_version}-{limit}-{self.identity}{hidden}"

    def headers(self, now: datetime) -> dict[str, str]:
        """Return what every answer says about its age at the instant `now`."""
        return {
            "Snapshot-As-Of": instant(self.provenance.as_of),
            "Snapshot-Verified-At": instant(self.provenance.verified_at),
            "Snapshot-Stale": "?1" if now > self.provenance.stale_after else "?0",
        }


class Snapshots:
    """Reads snapshots, at most once a second per tenant and signal."""

    def __init__(self, reader: Reader, timer: Callable[[], float], clock: Callable[[], datetime]) -> None:
        """Take a reader with the reader's role, the caches' timer, and the clock that counts 24 hours back."""
        self._reader = reader
        self._timer = timer
        self._clock = clock
        self._cache: ShortCache[Published] = ShortCache(
            _CACHE_BYTES, CACHE_TTL_S, timer=timer, weigh=lambda published: published.weight
        )

    def find(self, tenant_id: str, signal: str, wanted: int = ALL_ITEMS) -> Published:
        """Return what `tenant_id` is served for `signal`, with the first `wanted` items of a queue at least.

        Raises ProblemError (503 `snapshot_not_ready`) when the signal was never computed.
        """
        shown = FEW_ITEMS if wanted <= FEW_ITEMS and signal == "attention" else ALL_ITEMS
        kept = self._cache.get((tenant_id, signal, shown))
        if kept is not None:
            return kept
        read_at = self._timer()
        now = self._clock()
        values = {"tenant": tenant_id, "signal": signal, "shown": shown, "now": now, "day_ago": now - _DAY}
        for row in self._reader.rows(_PRESENT, values, tenant_id=tenant_id):
            published = replace(_published(row, tenant_id, signal), read_at=read_at)
            return self._cache.keep((tenant_id, signal, shown), published)
        raise _not_ready(signal)

    def kept(self, tenant_id: str, signal: str, as_of: datetime) -> Published:
        """Return the newest kept version of `as_of` or before.

        Raises ProblemError (404 `snapshot_not_kept`) when there is none, or retention has dropped it.
        """
        for row in self._reader.rows(_kept_statement(tenant_id, signal, as_of), tenant_id=tenant_id):
            return _past(row, tenant_id, signal)
        raise ProblemError(404, "snapshot_not_kept", f"{signal}: no version of that instant is kept")


def _kept_statement(tenant_id: str, signal: str, as_of: datetime) -> Select[*tuple[Any, ...]]:
    """Return the version that was current at `as_of`, be it still current or kept (unchanged scores are not)."""
    names = ("version", "content", "items", "window_json", "as_of", "computed_at", "rule_version")
    versions = union_all(
        *(
            select(*(rows.c[name] for name in names), replaced_at.label("replaced_at"))
            .where(rows.c.tenant_id == tenant_id, rows.c.signal == signal, rows.c.as_of <= as_of)
            .order_by(rows.c.version.desc())
            .limit(1)
            for rows, replaced_at in (
                (snapshot, null().cast(snapshot_history.c.replaced_at.type)),
                (snapshot_history, snapshot_history.c.replaced_at),
            )
        )
    ).subquery()
    return select(versions).order_by(versions.c.version.desc()).limit(1)


def _past(row: Row[Any], tenant_id: str, signal: str) -> Published:
    provenance = PastProvenance(row.as_of, row.computed_at, row.version, row.rule_version, row.replaced_at)
    identity = _identity(tenant_id, signal, instant(row.computed_at), "past")
    return Published(row.window_json, row.content, tuple(row.items or ()), provenance, identity)


def _published(row: Row[Any], tenant_id: str, signal: str) -> Published:
    if row.version is None and row.failing_since is not None:
        raise _not_ready(signal)
    if row.version is None:
        return Published(
            row.slot_window_json,
            row.slot_empty_content,
            (),
            _of_slot(row),
            _identity(tenant_id, signal, row.slot_empty_content),
        )
    # A refresh that confirms the content moves the slot on; one of this tenant alone moves the snapshot past it.
    as_of, window = _confirmed(row)
    extras = item_annotations.of(row)
    told = () if extras is None else (extras.tag(),)
    return Published(
        window if as_of is not None and as_of >= row.as_of else row.window_json,
        row.content,
        tuple(row.items or ()),
        _of_tenant(row),
        _identity(tenant_id, signal, instant(row.computed_at), *told),
        signal,
        tuple(row.lengths or ()),
        extras,
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


def _confirmed(row: Row[Any]) -> tuple[datetime | None, str | None]:
    """Return the instant and the window that the tenant's content was last confirmed for, None when it never was.

    That of its slot; for a tenant that is set aside, what its slot had when it first failed.
    """
    if row.failing_since is not None:
        return row.confirmed_as_of, row.confirmed_window_json
    return row.slot_as_of, row.slot_window_json


def _of_tenant(row: Row[Any]) -> Provenance:
    confirmed, window = _confirmed(row)
    is_failing = row.failing_since is not None and row.failing_since < row.slot_verified_at
    moves = confirmed is not None and window is not None
    return Provenance(
        # Confirmation moves the instant of what has a window; scores hold for the instant they were computed for.
        as_of=max(row.as_of, confirmed) if moves else row.as_of,
        computed_at=row.computed_at,
        version=row.version,
        rule_version=row.rule_version,
        verified_at=row.failing_since if is_failing else row.slot_verified_at,
        period_s=row.slot_period_s,
    )


def _not_ready(signal: str) -> ProblemError:
    return ProblemError(503, "snapshot_not_ready", f"{signal}: not computed yet; the first refresh is under way")


def _identity(*parts: str) -> str:
    """Return what tells apart equal version numbers: of two tenants, of one that was erased, of two empty contents."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:12]
