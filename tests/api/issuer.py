"""An issuer of tokens, with real keys, and a server of its own for the public ones."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from snapshots.settings import Settings
from tests.api.arrange import NOW, TENANT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ISSUER: Final = "https://issuer.example.com"
AUDIENCE: Final = "activity"


def rsa(kid: str = "first", bits: int = 2048) -> RSAKey:
    """Return a new RSA key."""
    return RSAKey.generate_key(bits, {"kid": kid})


def elliptic(kid: str = "first") -> ECKey:
    """Return a new key on P-256."""
    return ECKey.generate_key("P-256", {"kid": kid})


def claims(**overrides: object) -> dict[str, object]:
    """Return the claims of a token that is valid; None among `overrides` leaves a claim out."""
    now = int(NOW.timestamp())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "console", "iat": now, "exp": now + 600, "tenant_id": TENANT}
    found = usual | {"scope": "openid activity.patterns"} | overrides
    return {name: value for name, value in found.items() if value is not None}


def token(key: RSAKey | ECKey, said: dict[str, object] | None = None, **header: object) -> str:
    """Return a token that `key` signed."""
    algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
    names = {"alg": algorithm, "kid": key.kid} | header
    return jwt.encode(
        {name: value for name, value in names.items() if value is not None}, said or claims(), key, [algorithm]
    )


def key_set(*keys: RSAKey | ECKey) -> bytes:
    """Return the public halves of `keys` as the issuer publishes them."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def settings_for(source: Path | str, **overrides: Any) -> Settings:  # noqa: ANN401  # settings of any type
    """Return settings that accept the issuer's tokens."""
    return Settings(jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_jwks=str(source), **overrides)


@dataclass
class KeyServer:
    """Responses of the server of public keys, and the requests that it received."""

    url: str = ""
    body: bytes = b""
    status: int = 200
    location: str | None = None
    arrived: Event = field(default_factory=Event)
    may_answer: Event = field(default_factory=Event)
    asked: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(body: bytes) -> Iterator[KeyServer]:
    """Serve `body` on loopback."""
    known = KeyServer(body=body)
    known.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked.append(dict(self.headers))
            known.arrived.set()
            known.may_answer.wait(10)
            self.send_response(known.status)
            if known.location:
                self.send_header("Location", known.location)
            self.send_header("Content-Length", str(len(known.body)))
            self.end_headers()
            self.wfile.write(known.body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield known
        server.shutdown()
