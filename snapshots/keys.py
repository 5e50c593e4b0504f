"""API keys: made, taken apart and checked; what is stored is the hash of the secret, never the secret.

A token reads `act_<key_id>_<secret>`. The key id is public: it names the key in lists and logs. The secret is 256
random bits, so one round of SHA-256 is enough at rest: there is nothing to guess, unlike with a password. Both are
hexadecimal, so that the underscores between the parts are the only ones.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

_KEY_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"act_([0-9a-f]{12})_([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: the token to hand out once, and what to store of it."""

    token: str = field(repr=False)
    key_id: str
    secret_sha256: str = field(repr=False)


def generate() -> NewKey:
    """Return a new key."""
    key_id, secret = secrets.token_hex(_KEY_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    return NewKey(token=f"act_{key_id}_{secret}", key_id=key_id, secret_sha256=_sha256(secret))


def parse(token: str) -> tuple[str, str] | None:
    """Return the key id and the secret of `token`, or None when it has not the form of one."""
    match = _TOKEN.fullmatch(token)
    return (match[1], match[2]) if match else None


def matches(secret: str, secret_sha256: str) -> bool:
    """Say whether `secret` is the one that was hashed, in a time that does not depend on where they differ."""
    return hmac.compare_digest(_sha256(secret), secret_sha256)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
