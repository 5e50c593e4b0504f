"""The kinds of values that settings have, each with the check that names what was expected.

A setting declares its kind (`name: Flag = Field(...)`), and is checked with nothing further to add.
"""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

#: The signature algorithms that a token may have: a public key checks them, and cannot make them.
ASYMMETRIC: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "Ed448",
)  # fmt: skip
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def listed(words: str) -> tuple[str, ...]:
    """Return what is separated by commas."""
    return tuple(word.strip() for word in words.split(","))


def _exact_boolean(value: object) -> object:
    """Accept `true` and `false` alone: a typo must not read as either."""
    words = {"true": True, "false": False}
    if isinstance(value, str) and value not in words:
        msg = "expected true or false"
        raise ValueError(msg)
    return words[value] if isinstance(value, str) else value


def _number(value: object) -> object:
    """Read the number that a variable spells out."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _postgresql_url(value: SecretStr) -> SecretStr:
    try:
        backend = make_url(value.get_secret_value()).get_backend_name()
    except (ArgumentError, ValueError):  # a bad port is a plain ValueError that quotes what may be a password
        backend = ""
    if backend not in {"postgresql", "postgres"}:
        msg = "expected a URL like postgresql://user:password@host:5432/database"
        raise ValueError(msg)
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    parts = _split(value.get_secret_value())
    if parts is None or parts.scheme not in {"redis", "rediss"}:
        msg = "expected a URL like redis://:password@host:6379/0"
        raise ValueError(msg)
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        msg = "expected text that is not empty"
        raise ValueError(msg)
    return value


def _asymmetric(value: str) -> str:
    """Refuse `none`, and what is checked with a secret: the issuer's public key would then pass for it."""
    if not all(name in ASYMMETRIC for name in listed(value)):
        msg = f"expected some of {', '.join(ASYMMETRIC)}, separated by commas"
        raise ValueError(msg)
    return value


def _file_or_safe_url(value: str) -> str:
    if "://" in value and not _is_safe_url(value):
        msg = "expected a file, or a URL like https://issuer.example.com/jwks.json (http on loopback alone)"
        raise ValueError(msg)
    return value


def _is_safe_url(url: str) -> bool:
    """Tell whether nobody on the way to `url` can put in keys of their own."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _split(url: str) -> SplitResult | None:
    """Return the parts of `url`, or None where it is malformed; a port that is no number raises inside urlsplit."""
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        return None
    return parts if port != 0 else None


Flag = Annotated[bool, BeforeValidator(_exact_boolean)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Number = BeforeValidator(_number)
DatabaseUrl = Annotated[SecretStr, AfterValidator(_postgresql_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
NotBlank = Annotated[str, AfterValidator(_not_blank)]
Algorithms = Annotated[str, AfterValidator(_asymmetric)]
KeySource = Annotated[NotBlank, AfterValidator(_file_or_safe_url)]
