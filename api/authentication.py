"""Who asks: the API key of a request, its tenant and its capabilities (R31)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from api.caching import ShortCache
from api.problems import ProblemError
from snapshots import keys
from snapshots.tables import api_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from falcon import Request

    from api.reader import Reader

#: A key that was revoked is refused at the latest after this many seconds.
KNOWN_TTL_S: Final = 5.0
#: A key that was just made is accepted at the latest after this many seconds.
UNKNOWN_TTL_S: Final = 2.0
_CAPACITY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant that a request speaks for; the key alone decides it."""

    tenant_id: str
    key_id: str
    capabilities: frozenset[str]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as stored, when it was not revoked."""

    caller: Caller
    secret_sha256: str
    expires_at: datetime | None


class KeyRing:
    """The keys of the database, remembered for a moment; unknown ones apart, so that guesses push no real key out."""

    def __init__(self, reader: Reader, timer: Callable[[], float]) -> None:
        """Take a reader with the authenticator's role."""
        self._reader = reader
        self._known: ShortCache[StoredKey] = ShortCache(_CAPACITY, KNOWN_TTL_S, timer=timer)
        self._unknown: ShortCache[bool] = ShortCache(_CAPACITY, UNKNOWN_TTL_S, timer=timer)

    def find(self, key_id: str) -> StoredKey | None:
        """Return the key named `key_id`, or None when there is none or it was revoked."""
        known = self._known.get(key_id)
        if known is not None or self._unknown.get(key_id):
            return known
        found = self._look_up(key_id)
        if found is None:
            self._unknown.keep(key_id, value=True)
            return None
        return self._known.keep(key_id, found)

    def _look_up(self, key_id: str) -> StoredKey | None:
        columns = (api_key.c.tenant_id, api_key.c.capabilities, api_key.c.secret_sha256, api_key.c.expires_at)
        wanted = (api_key.c.key_id == key_id, api_key.c.revoked_at.is_(None))
        for row in self._reader.rows(select(*columns).where(*wanted)):
            caller = Caller(row.tenant_id, key_id, frozenset(row.capabilities))
            return StoredKey(caller, row.secret_sha256, row.expires_at)
        return None


class Gate:
    """Lets requests with a valid key and the capability of the endpoint pass."""

    def __init__(self, key_ring: KeyRing, clock: Callable[[], datetime]) -> None:
        """Take the keys, and the clock that judges their expiry."""
        self._key_ring = key_ring
        self._clock = clock

    def admit(self, req: Request, capability: str) -> Caller:
        """Return who asks.

        Raises ProblemError: 401 without a valid key, the same whatever is wrong with it; 403 without `capability`.
        """
        caller = self._caller(req.auth or "")
        if caller is None:
            raise _unauthorized()
        if capability not in caller.capabilities:
            raise ProblemError(403, "capability_missing", f"This key lacks {capability}.", capability=capability)
        return caller

    def _caller(self, header: str) -> Caller | None:
        scheme, _, token = header.partition(" ")
        parts = keys.parse(token.strip()) if scheme.lower() == "bearer" else None
        if parts is None:
            return None
        key_id, secret = parts
        stored = self._key_ring.find(key_id)
        if stored is None or not keys.matches(secret, stored.secret_sha256):
            return None
        return None if self._expired(stored) else stored.caller

    def _expired(self, stored: StoredKey) -> bool:
        return stored.expires_at is not None and stored.expires_at <= self._clock()


def _unauthorized() -> ProblemError:
    return ProblemError(
        401,
        "unauthorized",
        "A valid API key is needed: Authorization: Bearer KEY",
        headers={"WWW-Authenticate": 'Bearer realm="activity"'},
    )
