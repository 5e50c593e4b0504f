"""Hostile requests, made at random from a seed: each a credential, a target, and what is wrong with the rest of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from tests.api.arrange import PREFIX, SNAPSHOT_PATHS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from tests.served.credentials import Credential
    from tests.served.tenants import Estate, Tenant

_RUNS: Final = f"{PREFIX}/runs"
_OPEN: Final = ("/", "/livez", "/readyz", "/metrics", "/openapi.json")
_PLAIN: Final = (
    _RUNS,
    f"{_RUNS}?sort=duration_ms&order=asc&limit=200",
    f"{_RUNS}/by-dimension?dim=source",
    f"{_RUNS}/by-dimension?dim=agent_id&state=COMPLETED",
    f"{PREFIX}/summary/by-status",
    f"{PREFIX}/attention-queue?limit=100",
    f"{PREFIX}/signals",
    f"{PREFIX}/freshness",
    *SNAPSHOT_PATHS.values(),
)
#: Parameters, and the path that takes them.
_PARAMETERS: Final = {
    _RUNS: (
        *("state", "project_id", "is_synthetic", "status", "risk_level", "source", "provider_type", "agent_id", "sort"),
        *("order", "limit", "cursor", "started_after", "started_before", "completed_after", "completed_before"),
    ),
    f"{_RUNS}/by-dimension": ("dim", "state", "project_id"),
    f"{PREFIX}/summary/by-status": ("project_id", "started_after", "started_before"),
    f"{PREFIX}/patterns": ("as_of",),
    f"{PREFIX}/attention-queue": ("limit", "as_of"),
}
_FRAGMENTS: Final = (
    "' or '1'='1",
    "'; drop table signals.api_key; --",
    "x' union select secret_sha256 from signals.api_key --",
    "') or tenant_id <> '",
    "$1",
    "%(scope_tenant)s",
    "%s",
    ":tenant_id",
    "\\",
    "\x00",
    "a\x00b",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "\r\nX-Injected: yes",
    '{"$ne": null}',
    '["a", {"b": ["c"]}]',
    "[" * 500,
    "-1",
    "1e309",
    "NaN",
    "99999999999999999999",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-02-30T00:00:00Z",
    "infinity",
    "now()",
    "pg_sleep(10)",
    "\u202e\u0000\uffff",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "${jndi:ldap://x}",
    "A" * 257,
    "",
)
_TENANT_NAMES: Final = (
    "tenant_id={0}",
    "TENANT_ID={0}",
    "Tenant_Id={0}",
    "tenant%5Fid={0}",
    "%74enant_id={0}",
    "tenant_id[]={0}",
    "tenant-id={0}",
    "tenant_id",
    "tenant_id=",
    "tenant_id={0}&tenant_id={1}",
    "tenant_id%00={0}",
    "activity.tenant_id={0}",
    "limit=5;tenant_id={0}",
    "limit=5%26tenant_id={0}",
    "scope_tenant={0}",
)
_METHODS: Final = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "get", "PROPFIND", "M" * 300)
_HEADERS: Final = (
    "X-Tenant-Id: {0}",
    "X_Tenant_Id: {0}",
    "Tenant-Id: {0}",
    "Activity-Tenant-Id: {0}",
    "activity.caller: {0}",
    "X-Forwarded-User: {0}",
    "X-Original-Url: /livez",
    "X-Http-Method-Override: DELETE",
    "X-Request-Id: {0}",
    "X-Request-Id: a b",
    "X_Request_Id: {0}",
    "If-None-Match: *",
    'If-None-Match: W/"1-1.0-20-000000000000"',
    "If-None-Match: \xff\xfe",
    "Accept-Encoding: gzip",
    "Accept-Encoding: zstd;q=1, gzip;q=nan",
    "Accept-Encoding: *;q=inf",
    "Content_Length: 99999999",
    "Content-Length: 0",
    "Range: bytes=0-1",
    "Origin: https://evil.example",
    "Host: evil.example",
    "Connection: Authorization",
    "Expect: 100-continue",
    "Accept: text/html;q=0",
    "Cookie: a=\xff; tenant_id={0}",
    "X-Long: " + "y" * 8000,
)


_GET: Final = "GET {path} HTTP/1.1"
_POST: Final = "POST {path} HTTP/1.1"
_SMUGGLED: Final = f"GET {_RUNS} HTTP/1.1\r\nHost: api\r\n\r\n"
#: What breaks the protocol: its name, the first line, lines of the head, and what comes after the head.
_ODD: Final[Sequence[tuple[str, str, tuple[str, ...], str]]] = (
    ("both lengths", _GET, ("Content-Length: 4", "Transfer-Encoding: chunked"), f"0\r\n\r\n{_SMUGGLED}"),
    ("both lengths, other way", _GET, ("Transfer-Encoding: chunked", "Content-Length: 5"), f"0\r\n\r\n{_SMUGGLED}"),
    ("two lengths", _GET, ("Content-Length: 0", "Content-Length: 9"), _SMUGGLED),
    ("hidden coding", _GET, ("Transfer-Encoding: xchunked",), f"0\r\n\r\n{_SMUGGLED}"),
    ("coding with a tab", _GET, ("Transfer-Encoding:\tchunked", "Content_Length: 3"), f"0\r\n\r\n{_SMUGGLED}"),
    ("broken chunks", _GET, ("Transfer-Encoding: chunked",), "zz\r\nx"),
    ("folded", _GET, ("X-A: b", " X-Tenant-Id: {tenant}"), ""),
    ("space before colon", _GET, ("X-Tenant-Id : {tenant}",), ""),
    ("no colon", _GET, ("nonsense",), ""),
    ("NUL in header", _GET, ("X-A: a\0b",), ""),
    ("bare line feeds", _GET, ("X-A: b\nX-Tenant-Id: {tenant}",), ""),
    ("absolute form", "GET http://{tenant}{path} HTTP/1.1", (), ""),
    ("absolute form with user", "GET https://{tenant}@evil.example:9{path} HTTP/1.1", (), ""),
    ("authority form", "CONNECT evil.example:80 HTTP/1.1", (), ""),
    ("asterisk form", "OPTIONS * HTTP/1.1", (), ""),
    ("no target", "GET  HTTP/1.1", (), ""),
    ("spaces in target", "GET {path} {tenant} HTTP/1.1", (), ""),
    ("raw bytes in target", "GET {path}\xff\xfe HTTP/1.1", (), ""),
    ("parent folders", f"GET {PREFIX}/../../../etc/passwd HTTP/1.1", (), ""),
    ("encoded slashes", "GET /api%2Fv1%2Factivity%2Fruns HTTP/1.1", (), ""),
    ("double slashes", "GET /{path} HTTP/1.1", (), ""),
    ("HTTP/0.9", "GET {path}", (), ""),
    ("HTTP/1.0", "GET {path} HTTP/1.0", (), ""),
    ("HTTP/9.9", "GET {path} HTTP/9.9", (), ""),
    ("odd method", "G\x01T {path} HTTP/1.1", (), ""),
    ("long method", f"{'M' * 5000} {{path}} HTTP/1.1", (), ""),
    ("overlong header", _GET, ("X-A: {long}",), ""),
    ("many headers", _GET, tuple(f"X-{number}: y" for number in range(200)), ""),
    ("long body", _POST, ("Content-Length: 70000",), "x" * 70_000),
    ("negative length", _GET, ("Content-Length: -1",), ""),
    ("vast length", _POST, ("Content-Length: 99999999999999999999999",), ""),
)


@dataclass(frozen=True, slots=True)
class Attack:
    """A request as bytes, and what is known of it.

    An `odd` one breaks the protocol, so that it travels alone and may be refused before the application sees it.
    """

    kind: str
    method: str
    raw: bytes
    credential: Credential
    odd: bool = False
    #: It says the other tenant's public word itself, which an answer may then echo.
    says_other: bool = False
    #: It asks for rows of the other tenant by a name that it knows: a 200 must have none.
    wants_other: bool = False
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Target of an attack."""

    kind: str
    text: str
    says_other: bool = False
    wants_other: bool = False


class Attacker:
    """Makes attacks on two tenants."""

    def __init__(self, estate: Estate, valid: Sequence[Credential], invalid: Sequence[Credential]) -> None:
        """Take the credentials to try; `cursors` are filled in later, by tenant."""
        self._estate = estate
        self._valid = valid
        self._invalid = invalid
        self.cursors: dict[str, list[tuple[str, str]]] = {}

    def next(self, chance: Random) -> Attack:
        """Return one more attack."""
        credential = chance.choice(self._valid if chance.random() < 0.5 else self._invalid)
        other = self._estate.other(credential.tenant or chance.choice([self._estate.first, self._estate.second]))
        if chance.random() < 0.04:
            return _odd(chance, credential, other)
        target = self._target(chance, other)
        return _regular(chance, credential, target, other)

    def _target(self, chance: Random, other: Tenant) -> Target:
        ways = (
            _plain,
            _open,
            _named_tenant,
            _fragment,
            _repeated,
            _known_name,
            _long,
            self._foreign_run,
            self._foreign_cursor,
        )
        return chance.choices(ways, weights=(30, 5, 12, 25, 6, 8, 2, 6, 6))[0](chance, other)

    def _foreign_run(self, chance: Random, other: Tenant) -> Target:
        run_id = other.run_id(chance.randrange(40))
        spelled = chance.choice((run_id, quote(run_id, safe="").replace("-", "%2D"), f"{run_id}?limit=500"))
        return Target("foreign run", f"{_RUNS}/{spelled}", says_other=True)

    def _foreign_cursor(self, chance: Random, other: Tenant) -> Target:
        path, cursor = chance.choice(self.cursors[other.tenant_id])
        return Target("foreign cursor", f"{path}cursor={quote(cursor)}", says_other=True)


def _plain(chance: Random, _other: Tenant) -> Target:
    return Target("plain", chance.choice(_PLAIN))


def _open(chance: Random, _other: Tenant) -> Target:
    return Target("open", chance.choice(_OPEN))


def _named_tenant(chance: Random, other: Tenant) -> Target:
    query = chance.choice(_TENANT_NAMES).format(other.tenant_id, "tenant")
    path = chance.choice(_PLAIN)
    return Target("named tenant", f"{path}{'&' if '?' in path else '?'}{query}", says_other=True)


def _fragment(chance: Random, _other: Tenant) -> Target:
    value = quote(chance.choice(_FRAGMENTS), safe="", encoding="utf-8", errors="surrogatepass")
    if chance.random() < 0.15:
        return Target("fragment as id", f"{_RUNS}/{value}")
    path, name = chance.choice([(path, name) for path, names in _PARAMETERS.items() for name in (*names, value)])
    more = "&dim=source" if path.endswith("dimension") and chance.random() < 0.5 else ""
    return Target("fragment", f"{path}?{name}={value}{more}")


def _repeated(chance: Random, _other: Tenant) -> Target:
    path = chance.choice(list(_PARAMETERS))
    name = chance.choice(_PARAMETERS[path])
    values = (chance.choice(("1", "source", "LIVE", "unknown", "a,b", "2026-01-17T12:00:00Z")) for _ in range(3))
    return Target("repeated", f"{path}?" + "&".join(f"{name}={value}" for value in values))


def _known_name(chance: Random, other: Tenant) -> Target:
    path = chance.choice((f"{_RUNS}?", f"{PREFIX}/summary/by-status?", f"{_RUNS}/by-dimension?dim=source&"))
    return Target("known name", f"{path}project_id=project-{other.public}", says_other=True, wants_other=True)


def _long(chance: Random, _other: Tenant) -> Target:
    size = chance.choice((8150, 8192, 8193, 20_000, 65_000))
    return Target("long", f"{_RUNS}?" + "&".join(["agent_id=x"] * (size // 11)))


def _regular(chance: Random, credential: Credential, target: Target, other: Tenant) -> Attack:
    """Return a request that travels with others on a connection."""
    is_plain = chance.random() < 0.6
    method = "GET" if is_plain or chance.random() < 0.6 else chance.choice((*_METHODS, "HEAD", "HEAD"))
    extra = [] if is_plain else [chance.choice(_HEADERS).format(other.tenant_id) for _ in range(chance.randrange(3))]
    says_other = target.says_other or any(other.public in line for line in extra)
    lines = [f"{method} {target.text} HTTP/1.1", "Host: api", *credential.lines, *extra]
    return Attack(
        target.kind,
        method,
        _bytes(lines),
        credential,
        says_other=says_other,
        wants_other=target.wants_other and method == "GET",
        is_plain=is_plain and target.kind == "plain",
    )


def _odd(chance: Random, credential: Credential, other: Tenant) -> Attack:
    """Return a request that breaks the protocol, and travels alone."""
    kind, first, more, body = chance.choice(_ODD)
    words = {"path": chance.choice(_PLAIN), "tenant": other.tenant_id, "long": "x" * 500_000}
    lines = [first, "Host: api", "Connection: close", *credential.lines, *more]
    raw = _bytes([line.format(**words) if "{" in line else line for line in lines])
    method = first.partition(" ")[0]
    return Attack(kind, method, raw + body.encode("latin-1"), credential, odd=True, says_other=True)


def _bytes(lines: Sequence[str]) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
