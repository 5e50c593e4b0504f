"""The console's session: a cookie that holds the credential, out of reach of scripts, and what it may be used for.

Nothing is kept on the server: whatever process answers can check the cookie as it checks a header, and a credential
that is revoked or expires ends its sessions by itself. A browser sends a cookie by itself too, so a request that
changes something has to show that a page of ours made it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from api.http.problems import ProblemError

if TYPE_CHECKING:
    from falcon import Request

#: Where the browser speaks plain HTTP to its own machine, the first; anywhere else the second, whose prefix says to it
#: that this very host alone may set it, over TLS (RFC 6265bis): no other host of the domain can slip a session in.
COOKIE: Final = "activity_session"
HOST_COOKIE: Final = f"__Host-{COOKIE}"
#: A page of ours sends it with every request that changes something; another site's page cannot.
PROOF_HEADER: Final = "Activity-Request"
#: Browsers drop a cookie above 4,096 bytes, its name and attributes included.
MAX_CREDENTIAL_CHARS: Final = 3800

#: The prefix asks for `Path=/` and for `Secure`.
_ATTRIBUTES: Final = {
    COOKIE: "Path=/api; HttpOnly; SameSite=Strict",
    HOST_COOKIE: "Path=/; HttpOnly; SameSite=Strict; Secure",
}
#: What a bearer credential is made of (RFC 6750, 2.1): none of it means anything in a cookie.
CREDENTIAL_PATTERN: Final = "[A-Za-z0-9._~+/-]+=*"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CREDENTIAL: Final = re.compile(CREDENTIAL_PATTERN)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def credential_of(req: Request) -> str | None:
    """Return the credential in the request's cookie, if there is one that the browser would have kept from us alone.

    Raises ProblemError (403) where it comes with a request that changes something and that no page of ours made.
    """
    found = {name: values[0] for name in _ATTRIBUTES if (values := req.get_cookie_values(name))}
    if found and req.method not in _SAFE_METHODS:
        check_page(req)
    return found.get(HOST_COOKIE) or (found.get(COOKIE) if _is_plain_loopback(req) else None)


def check_page(req: Request) -> None:
    """Raise ProblemError (403) unless a page of this origin made the request: its header, and the browser's word."""
    if req.get_header(PROOF_HEADER) is None or not _is_same_origin(req, unknown=False):
        raise _refused()


def check_login(req: Request) -> None:
    """Raise ProblemError (403) when another site's page made the request; what is no browser says nothing of it."""
    if not _is_same_origin(req, unknown=True):
        raise _refused()


def credential_from(words: object) -> str:
    """Return `words` as a credential that a cookie can hold. Raises ProblemError (400), which does not repeat them."""
    if isinstance(words, str) and len(words) <= MAX_CREDENTIAL_CHARS and _CREDENTIAL.fullmatch(words):
        return words
    detail = (
        f"The credential: expected a key or a token as it was issued, of at most {MAX_CREDENTIAL_CHARS} characters."
    )
    raise ProblemError(400, "invalid_body", detail)


def begun(req: Request, credential: str) -> tuple[str, str]:
    """Return the headers that have the browser keep `credential` until it is closed, and no other one beside it."""
    kept, other = (COOKIE, HOST_COOKIE) if _is_plain_loopback(req) else (HOST_COOKIE, COOKIE)
    return f"{kept}={credential}; {_ATTRIBUTES[kept]}", _ended(other)


def ended() -> tuple[str, str]:
    """Return the headers that have the browser forget the session, whichever cookie holds it."""
    return _ended(HOST_COOKIE), _ended(COOKIE)


def _ended(name: str) -> str:
    return f"{name}=; Max-Age=0; {_ATTRIBUTES[name]}"


def _is_plain_loopback(req: Request) -> bool:
    """Tell whether the browser speaks plain HTTP to its own machine: by its own word, which no proxy rewrites."""
    origin = req.get_header("Origin")
    if origin is not None:
        return _parts(origin)[0] == "http" and _parts(origin)[1] in _LOOPBACK
    is_plain = req.get_header("X-Forwarded-Proto", default="http") == "http" and req.scheme == "http"
    return is_plain and _parts(f"//{req.get_header('Host', default='')}")[1] in _LOOPBACK


def _is_same_origin(req: Request, *, unknown: bool) -> bool:
    """Tell whether a page of this origin made the request; `unknown` where no browser says so."""
    site = req.get_header("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = req.get_header("Origin")
    if origin is None:
        return unknown
    return origin.partition("://")[2] == req.get_header("Host", default="")


def _parts(url: str) -> tuple[str, str | None]:
    """Return scheme and host of `url`, neither where it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", None
    return parts.scheme, parts.hostname


def _refused() -> ProblemError:
    detail = f"A session may change something from a page of this origin alone, with the header {PROOF_HEADER}."
    return ProblemError(403, "cross_site_request", detail)
