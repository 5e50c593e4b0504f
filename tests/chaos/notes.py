"""Observations of readers, and violations among them: a step back in time, a mixed body, an unannounced error."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_OK: Final = 200
_UNCHANGED: Final = 304
_UNAVAILABLE: Final = 503
_ALLOWED: Final = frozenset({_OK, _UNCHANGED, _UNAVAILABLE})
#: Members of a body, and of its items, that the read layer adds to the stored content.
_AROUND: Final = frozenset({"window", "snapshot", "movement", "snoozed_hidden"})
_AROUND_ITEMS: Final = frozenset({"fingerprint", "movement", "triage"})
#: More of one kind tell nothing new.
_KEPT: Final = 40


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and the seconds that it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest answer for a tenant and a signal: what it said of itself, and whether it was one."""

    as_of: datetime
    verified_at: datetime
    version: int
    is_stale: bool
    is_good: bool = True


@dataclass(slots=True)
class Phase:
    """Observations since a fault began: outcomes by name, the slowest answer and the oldest snapshot, seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    oldest_s: float = 0.0
    is_stale_seen: bool = False


class Notes:
    """Takes answers from several threads."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._lock = Lock()
        self._seen: dict[tuple[str, str], Seen] = {}
        #: The digests of contents by tenant, signal and version.
        self.contents: dict[tuple[str, str, int], str] = {}
        self._tagged: dict[tuple[str, str, str], str] = {}
        self.violations: list[str] = []
        self.phase = Phase()
        self.totals: Counter[str] = Counter()

    def begin(self) -> None:
        """Forget what was seen before, as a fault begins."""
        with self._lock:
            self.phase = Phase()

    def is_fresh(self, tenant: str, signal: str, since: datetime) -> bool:
        """Tell whether the newest answer was good, not stale, and confirmed after `since`."""
        with self._lock:
            seen = self._seen.get((tenant, signal))
        return seen is not None and seen.is_good and not seen.is_stale and seen.verified_at > since

    def take_silence(self, path: str, error: Exception, *, is_excused: bool) -> None:
        """Note that no answer came; only the API's own end excuses that."""
        with self._lock:
            self._count("no connection" if is_excused else f"unexcused {type(error).__name__}")
            if not is_excused:
                self._violate(f"{path}: no answer ({type(error).__name__}: {error}) though the API was up")

    def take_live(self, path: str, answer: Answer) -> None:
        """Note the answer of a live endpoint."""
        with self._lock:
            self._take(path.partition("/")[0], answer)

    def take_snapshot(self, tenant: str, signal: str, answer: Answer) -> None:
        """Note a snapshot: against the one before it, and against every other body of the same version."""
        with self._lock:
            body = self._take(signal, answer)
            before = self._seen.get((tenant, signal))
            if answer.status == _UNAVAILABLE:
                if before is not None:
                    self._seen[tenant, signal] = Seen(
                        before.as_of, before.verified_at, before.version, before.is_stale, is_good=False
                    )
                return
            if answer.status in {_OK, _UNCHANGED}:
                self._compare(tenant, signal, before, _told(answer, body, before))
            if body is not None:
                self._pair(tenant, signal, answer, body)

    def _take(self, name: str, answer: Answer) -> dict[str, Any] | None:
        """Count the answer and return its body when it is one of success."""
        body = _parsed(answer.body) if answer.body else None
        code = f" {(body or {}).get('error', '')}" if answer.status not in {_OK, _UNCHANGED} else ""
        self._count(f"{answer.status}{code}")
        self.phase.slowest_s = max(self.phase.slowest_s, answer.took_s)
        if answer.status not in _ALLOWED:
            self._violate(f"{name}: status {answer.status}{code}")
        if body is None and answer.status != _UNCHANGED:
            self._violate(f"{name}: a body that is no JSON")
        return body if answer.status == _OK else None

    def _compare(self, tenant: str, signal: str, before: Seen | None, seen: Seen) -> None:
        """Note a step back since the answer before."""
        for name in ("as_of", "verified_at", "version") if before is not None else ():
            was, is_now = getattr(before, name), getattr(seen, name)
            if is_now < was:
                self._violate(f"{tenant} {signal}: {name} went back from {was} to {is_now}")
        self._seen[tenant, signal] = seen
        age_s = (datetime.now(UTC) - seen.verified_at).total_seconds()
        self.phase.oldest_s = max(self.phase.oldest_s, age_s)
        self.phase.is_stale_seen |= seen.is_stale

    def _pair(self, tenant: str, signal: str, answer: Answer, body: dict[str, Any]) -> None:
        """Note a body whose headers say something else, and two contents of one version."""
        if body["snapshot"]["as_of"] != answer.headers["snapshot-as-of"]:
            self._violate(f"{tenant} {signal}: header and body disagree about as_of")
        key, found, tag = (tenant, signal, body["snapshot"]["version"]), digest(body), answer.headers["etag"]
        if self._tagged.setdefault((tenant, signal, tag), found) != found:
            self._violate(f"{tenant} {signal}: two contents of ETag {tag}")
        # Version 0 is the empty content, which says its own instant where the signal moves with the clock.
        if key[2] and self.contents.setdefault(key, found) != found:
            self._violate(f"{tenant} {signal}: two contents of version {key[2]}")

    def _count(self, name: str) -> None:
        self.phase.outcomes[name] += 1
        self.totals[name] += 1

    def _violate(self, words: str) -> None:
        if len(self.violations) < _KEPT:
            self.violations.append(f"{datetime.now(UTC):%H:%M:%S} {words}")


def digest(body: Mapping[str, Any]) -> str:
    """Return what tells contents apart: window, provenance, and what is said around the content, move without it."""
    content = {name: _bare(value) for name, value in body.items() if name not in _AROUND}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _bare(value: object) -> object:
    """Return a list's items without what is said around them."""
    if not isinstance(value, list):
        return value
    return [
        {name: each for name, each in item.items() if name not in _AROUND_ITEMS} if isinstance(item, dict) else item
        for item in value
    ]


def _told(answer: Answer, body: dict[str, Any] | None, before: Seen | None) -> Seen:
    """Return what the answer says of itself; a 304 says no version, and has that of the answer before."""
    as_of, verified_at = (
        datetime.fromisoformat(answer.headers[f"snapshot-{name}"]) for name in ("as-of", "verified-at")
    )
    version = before.version if body is None and before is not None else (body or {}).get("snapshot", {})["version"]
    return Seen(as_of, verified_at, version, answer.headers["snapshot-stale"] == "?1")


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(body, parse_constant=_refuse)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _refuse(constant: str) -> float:
    """Refuse NaN and Infinity, which are no JSON. Raises ValueError."""
    raise ValueError(constant)
