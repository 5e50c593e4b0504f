"""Allowed addresses of webhooks: those of the public internet alone."""

from __future__ import annotations

import pytest

from worker.webhooks.addresses import TargetRefusedError, check_url, is_public, target_of


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",  # noqa: S104  # refused, and not listened on
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "ff02::1", "fec0::1", "feff::1",
        "192.88.99.2", "::ffff:192.88.99.2", "2002:c058:6301::", "localhost", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_of_the_public_internet_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"])
def test_a_public_address_is_known(address: str) -> None:
    assert is_public(address)


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(TargetRefusedError, match="not public"):
        target_of("https://x.example/", allow_private=False, resolver=lambda _h, _p: ["1.1.1.1", "10.0.0.1"])


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "https://", "https://user@example.com/", "https://example.com:99999/",
        "https://example.com/#a", "https://example.com/ a", "https://example.com/\n", "https://example.com\\@evil.com/",
        "https://ex\u00e4mple.com/", "example.com", "https://example.com/" + "a" * 2000,
    ],
)  # fmt: skip
def test_a_url_that_is_not_plain_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(TargetRefusedError, match=r"^url: expected an https URL") as refused:
        check_url(url, allow_private=False)
    assert url not in str(refused.value)
