"""A response as it leaves the process, with what the log and the metrics say of it."""

from __future__ import annotations

from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from api.auth.authentication import Caller

_MAX_PATH_CHARS: Final = 512
_MAX_METHOD_CHARS: Final = 32

#: No answer but the console's loads anything, and nobody may frame or sniff what we send.
SHARED_HEADERS: Final = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)

Headers = list[tuple[str, str]]
#: Route, method and status: what the metrics tell apart.
Kind = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """Request as the log records it: path template, method, path and key id."""

    route: str
    method: str
    path: str
    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `body` is what WSGI sends, `size` its bytes, `words` the members of its line in the log."""

    status: str
    headers: Headers
    body: list[bytes]
    size: int
    kind: Kind
    words: str

    @classmethod
    def of(cls, status: str, headers: Headers, body: list[bytes], asked: Asked) -> Answer:
        """Return the answer to what was asked, its words put together: they are the same each time it is repeated."""
        size = sum(map(len, body))
        code = status[:3]
        return cls(status, headers, body, size, (asked.route, asked.method, code), _words(asked, code, size))


def _words(asked: Asked, code: str, size: int) -> str:
    """Return members of a JSON object. No query string, no header, nothing else that may be secret."""
    caller = asked.caller
    who = f',"tenant_id":{quoted(caller.tenant_id)},"key_id":{quoted(caller.key_id)}' if caller else ""
    return (
        f'"method":{quoted(asked.method[:_MAX_METHOD_CHARS])},"path":{quoted(asked.path[:_MAX_PATH_CHARS])}'
        f',"status":{code},"bytes":{size}{who}'
    )
