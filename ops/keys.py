"""API keys as an operator handles them: made, listed and revoked; the secret leaves this module once, as a token."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, insert, select, update

from snapshots import keys
from snapshots.errors import ActivityError
from snapshots.signals import CAPABILITIES
from snapshots.tables import api_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])", re.ASCII)
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: Beyond this an expiry says nothing, and ends past the calendar of the database's clients.
_LONGEST: Final = timedelta(days=36_500)


class KeyRequestError(ActivityError):
    """A key was asked for, or named, in a way that cannot be met."""


def parse_duration(words: str) -> timedelta:
    """Return the duration that `words` names, such as 90m, 12h, 30d or 2w.

    Raises KeyRequestError when it names none.
    """
    match = _DURATION.fullmatch(words)
    duration = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta(0)
    if not timedelta(0) < duration <= _LONGEST:
        raise KeyRequestError(f"expires-in: expected a duration like 12h, 30d or 8w, got {words!r}")
    return duration


def create_key(
    conn: Connection,
    tenant: str,
    *,
    capabilities: Sequence[str] = CAPABILITIES,
    expires_in: timedelta | None = None,
    label: str = "",
) -> keys.NewKey:
    """Store a new key of `tenant` and return it; its token exists nowhere else.

    Raises KeyRequestError for a tenant without a name or a capability that does not exist.
    """
    made = keys.generate()
    now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    row = {
        "key_id": made.key_id,
        "secret_sha256": made.secret_sha256,
        "tenant_id": _check_tenant(tenant),
        "capabilities": _check_capabilities(capabilities),
        "label": _check_text("label", label),
        "created_at": now,
        "expires_at": None if expires_in is None else now + expires_in,
    }
    conn.execute(insert(api_key).values(row))
    return made


def list_keys(conn: Connection, tenant: str | None = None) -> Sequence[RowMapping]:
    """Return the keys, of `tenant` alone if named, oldest first; nothing of their secrets."""
    shown = [column for column in api_key.c if column.name != "secret_sha256"]
    found = select(*shown).order_by(api_key.c.created_at, api_key.c.key_id)
    return conn.execute(found if tenant is None else found.where(api_key.c.tenant_id == tenant)).mappings().all()


def revoke_key(conn: Connection, key_id: str) -> bool:
    """Revoke a key; return False when it was revoked before, and then keeps its first time.

    Raises KeyRequestError when there is no such key.
    """
    # Whoever has only the token may paste it: its secret is dropped here and never repeated.
    parsed = keys.parse(key_id)
    key_id = parsed[0] if parsed is not None else key_id
    this = api_key.c.key_id == key_id
    if "\0" in key_id or conn.execute(select(api_key.c.key_id).where(this)).first() is None:
        raise KeyRequestError(f"key: {key_id[:16]!r} does not exist; `activity keys list` names the keys there are")
    revoked = update(api_key).where(this, api_key.c.revoked_at.is_(None)).values(revoked_at=func.clock_timestamp())
    return conn.execute(revoked).rowcount == 1


def _check_tenant(tenant: str) -> str:
    if not tenant.strip():
        raise KeyRequestError("tenant: expected a name, got an empty one")
    return _check_text("tenant", tenant)


def _check_text(name: str, words: str) -> str:
    """Return `words` when the database can hold them."""
    if "\0" in words or any("\ud800" <= letter <= "\udfff" for letter in words):
        raise KeyRequestError(f"{name}: expected text in UTF-8 without NUL characters")
    return words


def _check_capabilities(capabilities: Sequence[str]) -> list[str]:
    """Return them without duplicates, in the order in which they were named."""
    unknown = [name for name in capabilities if name not in CAPABILITIES]
    if unknown:
        raise KeyRequestError(f"capability: {unknown[0]!r} does not exist; expected some of {', '.join(CAPABILITIES)}")
    return list(dict.fromkeys(capabilities))
