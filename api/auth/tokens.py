"""JSON web tokens (RFC 7519) of one issuer: checked against its public keys, and what they say of the caller.

Source: docs/specification-notes.md#credentials-and-capabilities.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError, UnsupportedHeaderError
from joserfc.jws import JWSRegistry

from api.auth.authentication import Caller, printable
from api.auth.web_keys import JsonWebKeys
from api.http.caching import ShortCache
from snapshots.errors import SettingsError
from snapshots.setting_kinds import ASYMMETRIC
from snapshots.signals import CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from joserfc.jwk import GuestProtocol, Key

    from snapshots.settings import Settings

MAX_CHARS: Final = 8192
MAX_TENANT_CHARS: Final = 256
#: A signature is checked once in so many seconds per token and process.
VERIFIED_TTL_S: Final = 5.0

_log = logging.getLogger(__name__)
_CAPACITY: Final = 10_000
#: What a malformed token may provoke in the libraries that read it.
_MALFORMED: Final = (ArithmeticError, JoseError, LookupError, OSError, RecursionError, TypeError, ValueError)


class Tokens:
    """The tokens of the issuer in the settings; none with a symmetric signature, or without one, ever passes."""

    def __init__(
        self, settings: Settings, keys: JsonWebKeys, clock: Callable[[], datetime], timer: Callable[[], float]
    ) -> None:
        """Take the issuer's keys, and the clock that judges tokens. Raises SettingsError without an algorithm."""
        allowed = [name for name in settings.signature_algorithms() if name in ASYMMETRIC]
        if not allowed:  # joserfc takes an empty list for its own, which has symmetric ones
            raise SettingsError(f"ACTIVITY_JWT_ALGORITHMS: expected some of {', '.join(ASYMMETRIC)}")
        self._registry = JWSRegistry(algorithms=allowed, strict_check_header=False)
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._verified: ShortCache[Caller] = ShortCache(_CAPACITY, VERIFIED_TTL_S, timer=timer)

    def caller(self, token: str) -> Caller | None:
        """Return who `token` speaks for, or None when anything is wrong with it."""
        if not 0 < len(token) <= MAX_CHARS:
            return None
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        caller = self._verified.get(digest)
        if caller is None:
            caller = self._verify(token)
            if caller is not None:
                self._verified.keep(digest, caller)
        return caller if caller is not None and caller.is_valid_at(self._clock()) else None

    def _verify(self, token: str) -> Caller | None:
        try:
            claims = jwt.decode(token, self._choose, registry=self._registry).claims
            self._rules().validate(claims)
            return self._caller_of(claims)
        except _MALFORMED as ex:
            _log.debug("token refused: %s %s", type(ex).__name__, getattr(ex, "claim", ""))
            return None

    def _choose(self, token: GuestProtocol) -> Key:
        """Return the key for a token whose algorithm is allowed."""
        header = token.headers()
        if "crit" in header:
            raise UnsupportedHeaderError("no extension is understood")
        key = self._keys.find(str(header["kid"]), str(header["alg"]))
        if key is None:
            raise InvalidKeyIdError
        return key

    def _rules(self) -> jwt.JWTClaimsRegistry:
        """Return what the registered claims must be; the leeway counts for nbf and iat, since exp is judged exactly."""
        return jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            leeway=self._settings.jwt_leeway_s,
            iss={"essential": True, "value": str(self._settings.jwt_issuer)},
            aud={"essential": True, "value": str(self._settings.jwt_audience)},
            exp={"essential": True},
        )

    def _caller_of(self, claims: Mapping[str, Any]) -> Caller:
        tenant_id = _tenant(claims[self._settings.jwt_tenant_claim])
        # The tenant is named too: two of them must not share a limit because their tokens have no subject.
        named = "\0".join((claims["iss"], claims.get("sub", ""), tenant_id))
        return Caller(
            tenant_id,
            f"jwt:{hashlib.sha256(named.encode()).hexdigest()[:12]}",
            _capabilities(claims.get(self._settings.jwt_capabilities_claim, "")),
            datetime.fromtimestamp(claims["exp"], UTC),
            printable(str(claims.get("sub", ""))),
        )


def tokens_of(settings: Settings, clock: Callable[[], datetime], timer: Callable[[], float]) -> Tokens | None:
    """Return the tokens that are accepted, or None when the settings name no issuer.

    Raises SettingsError for a file of keys that cannot be used.
    """
    if settings.jwt_issuer is None or settings.jwt_jwks is None:
        return None
    return Tokens(settings, JsonWebKeys(settings.jwt_jwks, timer), clock, timer)


def _tenant(claim: Any) -> str:  # noqa: ANN401  # whatever JSON holds
    """Return the tenant when the database can hold it. Raises ValueError otherwise."""
    if not (isinstance(claim, str) and claim.strip() and len(claim) <= MAX_TENANT_CHARS and "\0" not in claim):
        raise ValueError
    claim.encode()  # refuses half a surrogate pair
    return claim


def _capabilities(claim: Any) -> frozenset[str]:  # noqa: ANN401  # whatever JSON holds
    """Return the capabilities among those that exist. Raises ValueError unless it is text or a list of text."""
    names = claim.split() if isinstance(claim, str) else claim
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError
    return frozenset(names).intersection(CAPABILITIES)
