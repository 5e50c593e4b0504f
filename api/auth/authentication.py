"""Authentication: the API key or token of a request, its tenant and its capabilities.

Source: docs/specification-notes.md#credentials-and-capabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sqlalchemy import Text, bindparam, func, or_, select

from api.auth import session
from api.http.caching import ShortCache
from api.http.problems import ProblemError
from snapshots import keys
from snapshots.tables import api_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from falcon import Request

    from api.auth.last_use import LastUse
    from api.auth.tokens import Tokens
    from api.queries.reader import Reader

#: A key that was revoked is refused at the latest after this many seconds, and one more where an answer is repeated.
KNOWN_TTL_S: Final = 4.0
#: A key that was just made is accepted at the latest after this many seconds.
UNKNOWN_TTL_S: Final = 2.0
_CAPACITY: Final = 10_000
#: A label or a token's subject is cut to this where it says who did something.
MAX_SUBJECT_CHARS: Final = 200

_LIVE_KEY: Final = select(
    api_key.c.tenant_id,
    api_key.c.capabilities,
    api_key.c.secret_sha256,
    api_key.c.label,
    # A key that was rotated is revoked at an instant to come: it ends then, or when it would have anyway.
    func.least(api_key.c.expires_at, api_key.c.revoked_at, type_=api_key.c.expires_at.type).label("ends_at"),
).where(
    api_key.c.key_id == bindparam("wanted", type_=Text),
    or_(api_key.c.revoked_at.is_(None), api_key.c.revoked_at > func.clock_timestamp()),
)


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant that a request speaks for, until `valid_until`; the credential alone decides it.

    `subject` is the key's label or the token's subject, for people.
    """

    tenant_id: str
    key_id: str
    capabilities: frozenset[str]
    valid_until: datetime | None = None
    subject: str = ""

    @property
    def actor(self) -> str:
        """Return the name for audit records: the subject, with the credential that proved it."""
        return f"{self.subject} ({self.key_id})" if self.subject else self.key_id

    def is_valid_at(self, now: datetime) -> bool:
        """Tell whether the credential has not ended."""
        return self.valid_until is None or now < self.valid_until


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as stored, when it was not revoked."""

    caller: Caller
    secret_sha256: str


def printable(words: str) -> str:
    """Return of `words` what can be printed and stored, cut to a length that a name may have."""
    return "".join(letter for letter in words if letter.isprintable())[:MAX_SUBJECT_CHARS]


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
        # That there is no such key is said only with a proof that it could have been seen.
        found = self._reader.rows(_LIVE_KEY, {"wanted": key_id})
        for row in found or self._reader.rows(_LIVE_KEY, {"wanted": key_id}, proves=True):
            capabilities = _together(tuple(row.capabilities))
            caller = Caller(row.tenant_id, key_id, capabilities, row.ends_at, printable(row.label))
            return StoredKey(caller, row.secret_sha256)
        return None


@lru_cache(maxsize=256)
def _together(capabilities: tuple[str, ...]) -> frozenset[str]:
    """Return the capabilities as one set for all keys that have the same: it is larger than the rest of a key."""
    return frozenset(capabilities)


class Keys:
    """API keys as credentials."""

    def __init__(self, key_ring: KeyRing, last_use: LastUse, clock: Callable[[], datetime]) -> None:
        """Take the keys, where their use is written down, and the clock that judges their expiry."""
        self._key_ring = key_ring
        self._last_use = last_use
        self._clock = clock

    def caller(self, credential: str) -> Caller | None:
        """Return who `credential` speaks for, or None when it is no key that may be used."""
        parts = keys.parse(credential)
        stored = self._key_ring.find(parts[0]) if parts is not None else None
        if parts is None or stored is None or not keys.matches(parts[1], stored.secret_sha256):
            return None
        if not stored.caller.is_valid_at(self._clock()):
            return None
        self._last_use.note(stored.caller.key_id)
        return stored.caller


class Gate:
    """Lets requests with a valid credential and the capability of the endpoint pass."""

    def __init__(self, api_keys: Keys | None, tokens: Tokens | None = None) -> None:
        """Take the kinds of credentials that are accepted."""
        self._kinds = [kind for kind in (api_keys, tokens) if kind is not None]

    def admit(self, req: Request, capability: str | None) -> Caller:
        """Return who asks.

        A header comes before a session's cookie, valid or not. Raises ProblemError: 401 without a valid credential, the
        same whatever is wrong with it; 403 without `capability`, where the endpoint asks for one, and for a session's
        request to change something that no page of ours made.
        """
        caller = self._caller(req)
        if caller is None:
            raise unauthorized()
        if capability is not None and capability not in caller.capabilities:
            raise ProblemError(403, "capability_missing", f"This credential lacks {capability}.", capability=capability)
        return caller

    def caller(self, credential: str) -> Caller | None:
        """Return who `credential` speaks for, or None when it is not valid."""
        found = (kind.caller(credential) for kind in self._kinds)
        return next((caller for caller in found if caller is not None), None)

    def _caller(self, req: Request) -> Caller | None:
        header = req.get_header("Authorization")
        credential = session.credential_of(req) if header is None else _bearer(header)
        return None if credential is None else self.caller(credential)


def _bearer(header: str) -> str | None:
    scheme, _, credential = header.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else None


def unauthorized() -> ProblemError:
    """Return the 401, the same whatever is wrong with a credential."""
    return ProblemError(
        401,
        "unauthorized",
        "A valid API key or token is needed: Authorization: Bearer KEY",
        headers={"WWW-Authenticate": 'Bearer realm="activity"'},
    )
