"""The issuer's public keys (RFC 7517), from a file or a URL, renewed while the process runs."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Protocol

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from api.auth.fetching import Document, bounded
from snapshots.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Seconds that a request waits for keys.
TIMEOUT_S: Final = 3.0
#: Seconds between two looks at a file.
FILE_PERIOD_S: Final = 5.0
#: Seconds between two fetches of a URL.
URL_PERIOD_S: Final = 300.0
#: Seconds after a fetch before an unknown key id may cause another.
UNKNOWN_PERIOD_S: Final = 30.0

_SMALLEST_RSA_BITS: Final = 2048
_KINDS: Final[Mapping[str, type[RSAKey | ECKey | OKPKey]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_log = logging.getLogger(__name__)


class _Source(Protocol):
    """Location of a key set, its refresh period, and the shortest wait before an unknown key id is looked up again."""

    name: str
    period_s: float
    unknown_period_s: float

    def read(self) -> bytes | None:
        """Return the set, or None when it did not change. Raises OSError, ValueError, or HTTPException."""


class _File:
    """A file; whoever rotates keys replaces it."""

    period_s = unknown_period_s = FILE_PERIOD_S

    def __init__(self, path: str) -> None:
        self.name = path
        self._path = Path(path)
        self._seen: tuple[int, int] | None = None

    def read(self) -> bytes | None:
        state = self._path.stat()
        seen = (state.st_mtime_ns, state.st_ino)
        if seen == self._seen:
            return None
        with self._path.open("rb") as file:
            content = bounded(file)
        self._seen = seen
        return content


class _Url(Document):
    """An https URL, or http on loopback."""

    period_s, unknown_period_s = URL_PERIOD_S, UNKNOWN_PERIOD_S


class JsonWebKeys:
    """The keys of a set, found by key id; when a renewal fails those known go on, and the log says so.

    No request waits longer than `TIMEOUT_S` for a renewal, and one renewal runs at a time.
    """

    def __init__(self, source: str, timer: Callable[[], float]) -> None:
        """Take a path, read at once, or a URL, read at the first request. Raises SettingsError for a useless file."""
        self._source: _Source = _Url(source, timer) if "://" in source else _File(source)
        self._timer = timer
        self._keys: Mapping[str, list[Key]] = {}
        self._lock = Lock()
        self._renewal: Thread | None = None
        self._tried_at = -math.inf
        if isinstance(self._source, _File):
            self._read_first()

    def find(self, kid: str, algorithm: str) -> Key | None:
        """Return the key named `kid` that may check signatures by `algorithm`, or None."""
        is_known = kid in self._keys
        is_mine = self._renew_after(self._source.period_s if is_known else self._source.unknown_period_s)
        if is_mine or not is_known:
            self._wait()
        return next((key for key in self._keys.get(kid, ()) if _checks(key, algorithm)), None)

    def _read_first(self) -> None:
        self._tried_at = self._timer()
        try:
            self._keys = _parse(self._source.read() or b"")
        except (OSError, ValueError) as ex:
            raise SettingsError(f"ACTIVITY_JWT_JWKS: {ex}") from ex
        if not self._keys:
            raise SettingsError("ACTIVITY_JWT_JWKS: no key of the set has a kid and can check signatures")

    def _renew_after(self, seconds: float) -> bool:
        """Begin to read the source if the last try is `seconds` old and has ended; tell whether it began."""
        with self._lock:
            is_running = self._renewal is not None and self._renewal.is_alive()
            if is_running or self._timer() - self._tried_at < seconds:
                return False
            self._tried_at = self._timer()
            self._renewal = Thread(target=self._renew, name="activity-jwks", daemon=True)
            self._renewal.start()
            return True

    def _wait(self) -> None:
        """Wait for the renewal that runs, if any, until it is `TIMEOUT_S` old."""
        with self._lock:
            renewal, left_s = self._renewal, self._tried_at + TIMEOUT_S - self._timer()
        if renewal is not None:
            renewal.join(max(0.0, left_s))

    def _renew(self) -> None:
        try:
            content = self._source.read()
            if content is not None:
                self._keys = _parse(content)
        except Exception as ex:  # noqa: BLE001  # whatever comes from there, the known keys go on
            _log.warning("jwks: %s could not be read, the known keys go on: %s: %s", self._source.name, _kind(ex), ex)


def _kind(ex: Exception) -> str:
    return type(ex).__name__


def _parse(content: bytes) -> dict[str, list[Key]]:
    """Return the usable keys of a set by key id. Raises ValueError when it is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        msg = 'expected a JSON Web Key Set: {"keys": [...]}'
        raise ValueError(msg)  # noqa: TRY004  # what is wrong is the text, not a type of ours
    found: dict[str, list[Key]] = {}
    for key in map(_usable, members):
        if key is not None and key.kid:
            found.setdefault(key.kid, []).append(key)
    return found


def _usable(member: Any) -> Key | None:  # noqa: ANN401  # whatever JSON holds
    """Return the key, or None for a kind that is not known, a secret, a weak one, or one that contradicts itself."""
    try:
        key = _KINDS[member["kty"]].import_key(member)
        is_weak = isinstance(key, RSAKey) and key.public_key.key_size < _SMALLEST_RSA_BITS
    except Exception as ex:  # noqa: BLE001  # a foreign key may be wrong in any way; the others of the set go on
        _log.info("jwks: a key of the set is not used: %s", _kind(ex))
        return None
    return None if is_weak else key


def _checks(key: Key, algorithm: str) -> bool:
    """Tell whether the key's type, curve, `alg`, `use` and `key_ops` agree with checking by `algorithm`."""
    try:
        JWSRegistry.algorithms[algorithm].check_key(key)
        key.check_key_op("verify")
    except JoseError:
        return False
    return True
