"""The embedded Valkey: private, durable, and free of what an earlier run left."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest
import redis

from ops.local.embedded.valkey import ValkeyServer
from snapshots.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def valkey_in(private_folder: Path) -> Iterator[Callable[[str], ValkeyServer]]:
    """Return a factory of servers in folders that are named; they are stopped afterwards."""
    made: list[ValkeyServer] = []

    def make(name: str) -> ValkeyServer:
        made.append(ValkeyServer(private_folder / name))
        return made[-1]

    yield make
    for server in made:
        server.stop()


def put(server: ValkeyServer, value: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", value)


def get(server: ValkeyServer) -> str | None:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        value: str | None = client.get("kept")
    return value


def pid_of(server: ValkeyServer) -> int:
    assert server.process is not None
    return int(server.process.pid)


def test_data_survives_a_restart_in_a_folder_with_odd_characters(valkey_in: Callable[[str], ValkeyServer]) -> None:
    first = valkey_in('odd "folder" \\ ü')
    first.start()
    put(first, "7")
    first.stop()

    second = valkey_in('odd "folder" \\ ü')
    second.start()

    assert get(second) == "7"


def test_a_server_that_ended_starts_again_under_its_old_address(valkey_in: Callable[[str], ValkeyServer]) -> None:
    server = valkey_in("again")
    server.start()
    address = server.url
    os.kill(pid_of(server), signal.SIGKILL)

    server.start()

    assert server.url == address
    assert get(server) is None


def test_a_server_that_was_left_behind_is_stopped(valkey_in: Callable[[str], ValkeyServer]) -> None:
    left_behind = valkey_in("left")
    left_behind.start()

    valkey_in("left").start()

    assert left_behind.process is not None
    assert left_behind.process.poll() is not None


def test_nobody_enters_without_the_password(valkey_server: ValkeyServer) -> None:
    port = valkey_server.url.rpartition(":")[2].partition("/")[0]

    with redis.Redis(port=int(port)) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_the_password_is_not_among_the_arguments(valkey_server: ValkeyServer) -> None:
    password = valkey_server.url.partition(":@")[0].rpartition("/:")[2].partition("@")[0]

    arguments = psutil.Process(pid_of(valkey_server)).cmdline()

    assert password
    assert not any(password in argument for argument in arguments)


def test_keys_are_never_evicted_and_the_loopback_alone_is_served(valkey_server: ValkeyServer) -> None:
    with redis.Redis.from_url(valkey_server.url, decode_responses=True) as client:
        policy = client.config_get("maxmemory-policy")
    addresses = {connection.laddr.ip for connection in psutil.Process(pid_of(valkey_server)).net_connections("tcp")}

    assert policy == {"maxmemory-policy": "noeviction"}
    assert addresses == {"127.0.0.1"}


def test_a_server_that_cannot_start_is_reported_with_its_own_words(
    valkey_in: Callable[[str], ValkeyServer], private_folder: Path
) -> None:
    (private_folder / "broken").mkdir()
    (private_folder / "broken" / "appendonlydir").write_text("no folder")

    with pytest.raises(BrokerUnavailableError, match=r"Valkey does not start: .*append-only dir.*; see .*\.log"):
        valkey_in("broken").start()
