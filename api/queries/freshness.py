"""Freshness of each signal for a tenant: its age, its next refresh and its last attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, func, literal, select

from snapshots.body import Provenance, instant
from snapshots.signals import SIGNALS
from snapshots.tables import attempt, freshness, quarantine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row, Select

_OVER = ("succeeded", "failed")


def statement(tenant_id: str) -> Select[*tuple[Any, ...]]:
    """Return the rows of the tenant's slot, one per signal that was ever computed for it.

    A tenant that is set aside, since its data breaks the signal, was last confirmed before its first failure.
    """
    of_slot = [freshness.c[name] for name in ("signal", "as_of", "period_s", "rule_version")]
    verified_at = func.least(freshness.c.verified_at, quarantine.c.first_failed_at).label("verified_at")
    is_aside = and_(quarantine.c.signal == freshness.c.signal, quarantine.c.tenant_id == tenant_id)
    return (
        select(*of_slot, verified_at, quarantine.c.first_failed_at.is_not(None).label("is_failing"))
        .select_from(freshness.outerjoin(quarantine, is_aside))
        .where(freshness.c.slot == func.signals.slot_of(tenant_id))
    )


def confirmed_as_of() -> ColumnElement[datetime]:
    """Return the instant that the last refresh which confirmed a tenant's content did it for, NULL when none did.

    Of `freshness`, the row of the tenant's slot, outer-joined with the tenant's row of `quarantine`: one that is set
    aside stays where its slot was when it first failed.
    """
    return case((quarantine.c.signal.is_not(None), quarantine.c.as_of), else_=freshness.c.as_of)


def attempts(tenant_id: str) -> Select[*tuple[Any, ...]]:
    """Return the newest attempt of each signal that included the tenant's slot and is over."""
    signal = select(func.unnest(literal(list(SIGNALS))).label("signal")).subquery()
    slot = func.signals.slot_of(tenant_id)
    newest = (
        select(attempt.c.state, attempt.c.error_class, attempt.c.finished_at)
        .where(
            attempt.c.signal == signal.c.signal,
            attempt.c.state.in_(_OVER),
            attempt.c.shard == slot % attempt.c.shards,
        )
        .order_by(attempt.c.refresh_id.desc())
        .limit(1)
        .lateral()
    )
    return select(signal.c.signal, newest)


def body(rows: Sequence[Row[Any]], tried: Sequence[Row[Any]], now: datetime) -> dict[str, object]:
    """Return the response to the rows of both statements at `now`; ages are in seconds."""
    known = {row.signal: row for row in rows}
    last = {row.signal: row for row in tried}
    return {"signals": [_signal(name, known.get(name), last.get(name), now) for name in SIGNALS]}


def _signal(name: str, row: Row[Any] | None, last: Row[Any] | None, now: datetime) -> dict[str, object]:
    return {"signal": name, **(_never() if row is None else _ages(row, now)), "last_attempt": _attempt(last)}


def _never() -> dict[str, object]:
    """Return the members of a signal that was never computed: not fresh, and nothing is known of it."""
    unknown = ("as_of", "verified_at", "age_s", "stale_after", "next_refresh_at", "rule_version")
    return {**dict.fromkeys(unknown), "stale": True, "failing": False}


def _ages(row: Row[Any], now: datetime) -> dict[str, object]:
    provenance = Provenance(row.as_of, row.verified_at, 0, row.rule_version, row.verified_at, row.period_s)
    return {
        "as_of": instant(row.as_of),
        "verified_at": instant(row.verified_at),
        "age_s": round(max(0.0, (now - row.verified_at).total_seconds()), 3),
        "stale_after": instant(provenance.stale_after),
        "next_refresh_at": instant(provenance.next_refresh_at),
        "rule_version": row.rule_version,
        "stale": now > provenance.stale_after,
        "failing": row.is_failing,
    }


def _attempt(last: Row[Any] | None) -> dict[str, object] | None:
    if last is None:
        return None
    return {"state": last.state, "error_class": last.error_class, "finished_at": last.finished_at}
