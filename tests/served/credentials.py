"""Credentials that are sent to a served API: valid ones, and everything that an attacker might try in their place."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from joserfc.jwk import RSAKey
from sqlalchemy import make_url

from snapshots import keys
from snapshots.signals import CAPABILITIES
from tests.api import issuer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.served.tenants import Estate, Tenant

#: Shorter words are no secrets.
_LONG: Final = 40
#: Where the secret of a key begins, and how long it is, characters.
_KEY_ID: Final = 17
_SECRET: Final = 64


@dataclass(frozen=True, slots=True)
class Credential:
    """Lines of a request's head, and the tenant that they speak for: None when they must open nothing."""

    kind: str
    lines: tuple[str, ...] = field(repr=False)
    tenant: Tenant | None = None
    has_everything: bool = False


def _bearer(kind: str, word: str, tenant: Tenant | None = None, *, has_everything: bool = False) -> Credential:
    return Credential(kind, (f"Authorization: Bearer {word}",), tenant, has_everything)


def valid(estate: Estate) -> list[Credential]:
    """Return the credentials that open something."""
    return [each for tenant in (estate.first, estate.second) for each in _valid(estate, tenant)]


def _valid(estate: Estate, tenant: Tenant) -> Iterator[Credential]:
    everything = tenant.claims(scope=" ".join(CAPABILITIES))
    yield _bearer("key", tenant.key, tenant, has_everything=True)
    yield _bearer("narrow key", tenant.narrow_key, tenant)
    yield _bearer("token", issuer.token(estate.signing_key, everything), tenant, has_everything=True)
    yield _bearer("narrow token", issuer.token(estate.signing_key, tenant.claims()), tenant)
    yield Credential("lower case", (f"authorization:bearer {tenant.key}  ",), tenant, has_everything=True)


def invalid(estate: Estate) -> list[Credential]:
    """Return the credentials that must open nothing."""
    found = [
        Credential("none", ()),
        Credential("empty", ("Authorization:",)),
        Credential("bare", ("Authorization: Bearer",)),
    ]
    for tenant in (estate.first, estate.second):
        found += [*_wrong_keys(tenant), *_several(tenant, estate.other(tenant)), *_elsewhere(tenant)]
        found += [_bearer(kind, word) for kind, word in _wrong_tokens(estate, tenant)]
    return found


def _wrong_keys(tenant: Tenant) -> Iterator[Credential]:
    key_id, secret = keys.parse(tenant.key) or ("", "")
    wrong = {
        "expired key": tenant.expired_key,
        "revoked key": tenant.revoked_key,
        "unknown key": keys.generate().token,
        "forged secret": f"act_{key_id}_{'0' * 64}",
        "hash for secret": f"act_{key_id}_{hashlib.sha256(secret.encode()).hexdigest()}",
        "truncated key": tenant.key[:-1],
        "longer key": tenant.key + "0",
        "upper case key": tenant.key.upper(),
        "doubled key": f"{tenant.key}{tenant.key}",
        "two keys": f"{tenant.key} {tenant.key}",
        "listed keys": f"{tenant.key},{tenant.key}",
        "quoted key": f'"{tenant.key}"',
        "key with a comment": f"{tenant.key};tenant_id={tenant.tenant_id}",
        "sql in key": f"act_{key_id}_' or '1'='1",
        "long key": tenant.key + "a" * 9000,
        "latin letters": "act_\xe9\xff\xa0",
    }
    yield from (_bearer(kind, word) for kind, word in wrong.items())
    yield Credential("other scheme", (f"Authorization: Basic {tenant.key}",))
    yield Credential("no scheme", (f"Authorization: {tenant.key}",))
    yield Credential("two schemes", (f"Authorization: Bearer Bearer {tenant.key}",))


def _several(tenant: Tenant, other: Tenant) -> Iterator[Credential]:
    own, foreign = f"Authorization: Bearer {tenant.key}", f"authorization: Bearer {other.key}"
    yield Credential("two tenants", (own, foreign))
    yield Credential("twice", (own, own))
    yield Credential("valid, then none", (own, "Authorization:"))
    yield Credential("forged, then valid", (f"Authorization: Bearer {keys.generate().token}", own))


def _elsewhere(tenant: Tenant) -> Iterator[Credential]:
    for name in (
        "HTTP_AUTHORIZATION",
        "X-Authorization",
        "Proxy-Authorization",
        "Authorization_",
        "X-Api-Key",
        "Cookie",
    ):
        yield Credential(f"in {name}", (f"{name}: Bearer {tenant.key}",))


def _wrong_tokens(estate: Estate, tenant: Tenant) -> Iterator[tuple[str, str]]:
    right = issuer.token(estate.signing_key, tenant.claims())
    other = issuer.token(estate.signing_key, estate.other(tenant).claims())
    head, payload, signature = right.split(".")
    yield "wrong key", issuer.token(issuer.rsa("served"), tenant.claims())
    yield "unknown kid", issuer.token(estate.signing_key, tenant.claims(), kid="nobody")
    yield "no kid", issuer.token(estate.signing_key, tenant.claims(), kid=None)
    yield "other payload", ".".join((head, other.split(".")[1], signature))
    yield "no signature", f"{head}.{payload}."
    yield "two parts", f"{head}.{payload}"
    yield "five parts", f"{right}.x.y"
    yield "truncated token", right[:-4]
    yield "doubled token", f"{right}{right}"
    yield "listed tokens", f"{right}, {other}"
    yield "long token", right + "A" * 9000
    yield from _wrong_algorithms(estate, payload)
    yield from _wrong_claims(estate, tenant)


def _wrong_algorithms(estate: Estate, payload: str) -> Iterator[tuple[str, str]]:
    public = estate.signing_key.as_pem(private=False)
    for name in ("none", "None", "nOnE", ""):
        yield f"alg {name!r}", f"{_part({'alg': name, 'kid': 'served'})}.{payload}."
    for name, digest in (("HS256", "sha256"), ("HS512", "sha512")):
        signed = f"{_part({'alg': name, 'kid': 'served', 'typ': 'JWT'})}.{payload}"
        yield f"alg {name} with the public key", f"{signed}.{_base64(hmac.digest(public, signed.encode(), digest))}"
    elliptic = issuer.elliptic("served")
    yield "alg ES256", issuer.token(elliptic, json.loads(base64.urlsafe_b64decode(payload + "==")))
    mine = RSAKey.generate_key(2048, {"kid": "served"})
    own = {"jwk": mine.as_dict(private=False), "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}
    said = json.loads(base64.urlsafe_b64decode(payload + "=="))
    yield from ((f"key in {name}", issuer.token(mine, said, **{name: value})) for name, value in own.items())


def _wrong_claims(estate: Estate, tenant: Tenant) -> Iterator[tuple[str, str]]:
    now = int(time.time())
    wrong: dict[str, dict[str, object]] = {
        "expired": {"exp": now - 1},
        "endless": {"exp": None},
        "not yet": {"nbf": now + 7200},
        "foreign issuer": {"iss": "https://elsewhere.example.com"},
        "foreign audience": {"aud": "elsewhere"},
        "no tenant": {"tenant_id": None},
        "two tenants": {"tenant_id": [tenant.tenant_id, estate.other(tenant).tenant_id]},
        "empty tenant": {"tenant_id": " "},
        "tenant with NUL": {"tenant_id": f"{tenant.tenant_id}\0"},
        "scope a number": {"scope": 7},
    }
    for kind, said in wrong.items():
        yield kind, issuer.token(estate.signing_key, tenant.claims(**said))


def secrets_of(estate: Estate, sent: Iterable[Credential]) -> set[str]:
    """Return what no log and no answer may hold: secrets of keys, signatures of tokens, the password of the logins."""
    words = {word for each in sent for line in each.lines for word in re.split(r"[ ,]", line) if len(word) > _LONG}
    found = {word[_KEY_ID:][:_SECRET] if word.lower().startswith("act_") else word.split(".")[-1] for word in words}
    return {part for part in found if len(part) > _LONG} | {str(make_url(estate.database).password)}


def _part(content: dict[str, object]) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
