"""Authenticator of the application, built from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.auth.authentication import Gate, KeyRing, Keys
from api.auth.last_use import LastUse
from api.auth.visibility import Proof
from api.queries.reader import LOOK_UP_TIMEOUT_MS, Reader
from snapshots.signals import AUTHENTICATOR_ROLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.engine import Engine

    from api.app import AppDependencies
    from api.auth.tokens import Tokens
    from snapshots.settings import Settings


def gate_of(authenticator: Engine, settings: Settings, around: AppDependencies) -> Gate:
    """Return the gate that takes API keys, tokens, or both.

    Raises SettingsError for a file of public keys that cannot be used.
    """
    tokens = tokens_of(settings, around.clock, around.timer)
    if not settings.api_keys:
        return Gate(None, tokens)
    proof = Proof(AUTHENTICATOR_ROLE, around.timer)
    key_ring = KeyRing(Reader(authenticator, LOOK_UP_TIMEOUT_MS, around.key_watch, proof), around.timer)
    last_use = LastUse(authenticator, around.timer, around.key_watch, around.aside)
    return Gate(Keys(key_ring, last_use, around.clock), tokens)


def tokens_of(settings: Settings, clock: Callable[[], datetime], timer: Callable[[], float]) -> Tokens | None:
    """Return what checks the tokens of the issuer in the settings, None where there is none.

    Raises SettingsError for a file of public keys that cannot be used.
    """
    if settings.jwt_issuer is None:
        return None
    from api.auth import tokens  # noqa: PLC0415  # 10 MB of cryptography, for those who use it

    return tokens.tokens_of(settings, clock, timer)
