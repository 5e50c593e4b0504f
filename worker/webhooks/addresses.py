"""Allowed addresses of webhooks: each address is checked, and the connection goes to that same address.

A name could answer with a public address when it is checked and with a private one when it is used; hence both are one
step. Nothing that is not an address of the public internet is allowed, unless the deployment says so.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from snapshots.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Resolve = Callable[[str, int], Sequence[str]]

MAX_URL_CHARS: Final = 2000
#: IPv6 that stands for the IPv4 address in its last four bytes (RFC 6052).
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"),)
#: Relays from IPv6 that are no more (RFC 7526); an address of theirs leads wherever a network has it lead.
_RELAYS: Final = IPv4Network("192.88.99.0/24")


class TargetRefusedError(ArgumentError):
    """A webhook's URL leads where it may not."""


@dataclass(frozen=True, slots=True)
class Target:
    """Destination of a request: `address` is connected to, `host` is the name for TLS and the Host header."""

    scheme: str
    host: str
    port: int
    path: str
    address: str


def resolve(host: str, port: int) -> Sequence[str]:
    """Return every address of `host`. Raises OSError where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def check_url(url: str, *, allow_private: bool) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path of `url`. Raises TargetRefusedError that says what was expected.

    The URL is never repeated: its path may be a secret.
    """
    expected = "expected an https URL without user and fragment" + (" (http is allowed here)" if allow_private else "")
    schemes = {"https", "http"} if allow_private else {"https"}
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        raise TargetRefusedError(f"url: {expected}") from None
    is_plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url and len(url) <= MAX_URL_CHARS
    if not is_plain or parts.scheme not in schemes or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise TargetRefusedError(f"url: {expected}")
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), path


def target_of(url: str, *, allow_private: bool, resolver: Resolve = resolve) -> Target:
    """Return where `url` leads now. Raises TargetRefusedError when any of its addresses is not allowed."""
    scheme, host, port, path = check_url(url, allow_private=allow_private)
    try:
        addresses = resolver(host, port)
    except (OSError, UnicodeError):
        raise TargetRefusedError("url: its host has no address") from None
    if not addresses:
        raise TargetRefusedError("url: its host has no address")
    if not allow_private and not all(is_public(address) for address in addresses):
        detail = "url: its host has an address that is not public; ACTIVITY_NOTIFY_PRIVATE=true allows that"
        raise TargetRefusedError(detail)
    return Target(scheme, host, port, path, addresses[0])


def is_public(address: str) -> bool:
    """Tell whether `address` is one of the public internet, and no other hides in it."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(found in network for network in _TRANSLATED):
        # Where names are answered so, every address is: what counts is the one that it stands for.
        return _is_public(IPv4Address(found.packed[-4:]))
    return all(_is_public(each) for each in (found, *_hidden(found)))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    # The library counts site-local addresses (fec0::/10, RFC 3879) and the relays as global.
    is_odd = address.is_multicast or address.is_reserved or address.is_unspecified or address in _RELAYS
    return address.is_global and not is_odd and not (isinstance(address, IPv6Address) and address.is_site_local)


def _hidden(address: IPv4Address | IPv6Address) -> Sequence[IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return ()
    inside = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
    return [each for each in inside if each is not None]
