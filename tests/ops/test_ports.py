"""A port that is held: taken for everybody else, open to the server that it is held for."""

from __future__ import annotations

import socket

import pytest

from ops import ports
from snapshots.errors import ActivityError
from tests.ops.up import free_port

LOOPBACK = "127.0.0.1"


def test_a_port_that_somebody_listens_on_is_refused_by_name() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]

        with pytest.raises(ActivityError, match=rf"port {port} on 127\.0\.0\.1: cannot be listened on"):
            ports.check(LOOPBACK, port)


def test_a_held_port_is_taken_although_nobody_listens() -> None:
    port = free_port()

    with ports.held(LOOPBACK, port):
        with pytest.raises(ActivityError, match="cannot be listened on"):
            ports.check(LOOPBACK, port)
        with pytest.raises(ActivityError, match="cannot be listened on"), ports.held(LOOPBACK, port):
            pass

    ports.check(LOOPBACK, port)


def test_every_connection_to_a_held_port_reaches_the_server_that_shares_it() -> None:
    port = free_port()

    with ports.held(LOOPBACK, port), socket.create_server((LOOPBACK, port), reuse_port=True) as server:
        for _ in range(10):
            with socket.create_connection((LOOPBACK, port), timeout=5) as client:
                taken, address = server.accept()
                taken.close()
                assert client.getsockname() == address


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
def test_an_address_of_ipv6_is_checked_as_one() -> None:
    ports.check("::1", free_port())
