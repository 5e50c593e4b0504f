"""API keys as an operator handles them: made, listed, rotated and revoked; a secret leaves once, as a token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import case, func, insert, or_, select, update

from snapshots import keys
from snapshots.errors import ActivityError, ArgumentError
from snapshots.signals import CAPABILITIES, INGEST_CAPABILITY, READING
from snapshots.tables import api_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Row, RowMapping

_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])", re.ASCII)
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: Beyond this an expiry says nothing, and ends past the calendar of the database's clients.
_LONGEST: Final = timedelta(days=36_500)


#: How long a rotated key still works, so that its holder can change over.
DEFAULT_GRACE: Final = timedelta(hours=24)


class KeyRequestError(ActivityError):
    """A key was asked for, or named, in a way that cannot be met."""


class KeyArgumentError(KeyRequestError, ArgumentError):
    """A key was asked for with a value that no key can have."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A key and its successor; both work until the old one ends."""

    made: keys.NewKey
    old_key_id: str
    old_ends_at: datetime


def parse_duration(words: str, *, option: str = "expires-in") -> timedelta:
    """Return the duration that `words` names, such as 90m, 12h, 30d or 2w.

    Raises KeyRequestError naming `option` when it names none.
    """
    match = _DURATION.fullmatch(words)
    duration = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta(0)
    if not timedelta(0) < duration <= _LONGEST:
        raise KeyArgumentError(f"{option}: expected a duration like 12h, 30d or 8w, got {words!r}")
    return duration


def create_key(
    conn: Connection,
    tenant: str,
    *,
    capabilities: Sequence[str] = READING,
    expires_in: timedelta | None = None,
    label: str = "",
) -> keys.NewKey:
    """Store a new key of `tenant` and return it; its token exists nowhere else.

    Raises KeyRequestError for a tenant without a name or a capability that does not exist.
    """
    row = {
        "tenant_id": _check_tenant(tenant),
        "capabilities": _check_capabilities(capabilities),
        "label": _check_text("label", label),
    }
    return _store(conn, row, _now(conn), expires_in)


def rotate_key(conn: Connection, key_id: str, *, grace: timedelta = DEFAULT_GRACE) -> Rotation:
    """Store a successor of a key with its tenant, capabilities, label and lifetime; the old one ends after `grace`.

    It never ends later than it would have anyway. Its end is written down as a revocation, so that its own lifetime is
    still known when it is rotated again. Raises KeyRequestError for a key that is unknown, revoked or expired.
    """
    old = _find(conn, key_id)
    now = _now(conn)
    ends = [end for end in (old.revoked_at, old.expires_at) if end is not None]
    if any(end <= now for end in ends):
        ended = "was revoked" if old.revoked_at is not None and old.revoked_at <= now else "expired"
        raise KeyRequestError(f"key: {old.key_id!r} {ended}; `activity keys create` makes a new one")
    ends_at = min([now + grace, *ends])
    conn.execute(update(api_key).where(api_key.c.key_id == old.key_id).values(revoked_at=ends_at))
    row = {"tenant_id": old.tenant_id, "capabilities": old.capabilities, "label": old.label}
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    return Rotation(_store(conn, row, now, lifetime), old.key_id, ends_at)


def list_keys(conn: Connection, tenant: str | None = None) -> Sequence[RowMapping]:
    """Return the keys, of `tenant` alone if named, oldest first; nothing of their secrets."""
    # The last use is kept to the minute, which may have begun before the key was made.
    too_early = api_key.c.last_used_at < api_key.c.created_at
    last_used = case((too_early, api_key.c.created_at), else_=api_key.c.last_used_at).label("last_used_at")
    apart = {"secret_sha256", "last_used_at"}
    found = select(*(column for column in api_key.c if column.name not in apart), last_used).order_by(
        api_key.c.created_at, api_key.c.key_id
    )
    return conn.execute(found if tenant is None else found.where(api_key.c.tenant_id == tenant)).mappings().all()


def revoke_key(conn: Connection, key_id: str) -> bool:
    """Revoke a key; return False when it was revoked before, and then keeps its first time.

    Raises KeyRequestError when there is no such key.
    """
    this, now = api_key.c.key_id == _find(conn, key_id).key_id, func.clock_timestamp()
    is_live = or_(api_key.c.revoked_at.is_(None), api_key.c.revoked_at > now)
    revoked = update(api_key).where(this, is_live).values(revoked_at=now)
    return conn.execute(revoked).rowcount == 1


def _find(conn: Connection, key_id: str) -> Row[Any]:
    """Return the key, locked until the transaction ends."""
    # Whoever has only the token may paste it: its secret is dropped here and never repeated.
    parsed = keys.parse(key_id)
    key_id = parsed[0] if parsed is not None else key_id
    this = select(api_key).where(api_key.c.key_id == key_id).with_for_update()
    found = None if "\0" in key_id else conn.execute(this).first()
    if found is None:
        raise KeyRequestError(f"key: {key_id[:16]!r} does not exist; `activity keys list` names the keys there are")
    return found


def _now(conn: Connection) -> datetime:
    now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    return now


def _store(conn: Connection, row: Mapping[str, object], now: datetime, lifetime: timedelta | None) -> keys.NewKey:
    made = keys.generate()
    own = {"key_id": made.key_id, "secret_sha256": made.secret_sha256, "created_at": now}
    conn.execute(insert(api_key).values(**row, **own, expires_at=None if lifetime is None else now + lifetime))
    return made


def _check_tenant(tenant: str) -> str:
    if not tenant.strip():
        raise KeyArgumentError("tenant: expected a name, got an empty one")
    return _check_text("tenant", tenant)


def _check_text(name: str, words: str) -> str:
    """Return `words` when the database can hold them."""
    if "\0" in words or any("\ud800" <= letter <= "\udfff" for letter in words):
        raise KeyArgumentError(f"{name}: expected text in UTF-8 without NUL characters")
    return words


def _check_capabilities(capabilities: Sequence[str]) -> list[str]:
    """Return them without duplicates, in the order in which they were named."""
    known = (*CAPABILITIES, INGEST_CAPABILITY)
    unknown = [name for name in capabilities if name not in known]
    if unknown:
        raise KeyArgumentError(f"capability: {unknown[0]!r} does not exist; expected some of {', '.join(known)}")
    return list(dict.fromkeys(capabilities))
