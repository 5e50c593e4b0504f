"""`activity up` for real: ready with all it promises, refused where it cannot run, gone without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import urllib.request
from typing import TYPE_CHECKING, Any

import psutil
import psycopg2
import pytest
import redis

from ops.local import children
from tests.ops.up import READY_S, STOPPED_S, Up, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def get(ready: dict[str, Any], path: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(ready["url"] + path, headers={"Authorization": f"Bearer {ready['api_key']}"})  # noqa: S310  # our own http URL
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  # our own http URL
        return response.status, json.loads(response.read())


@pytest.fixture(scope="module")
def start(private_folder: Path) -> Iterator[Callable[..., Up]]:
    """Return a function that starts `activity up` in a folder that is named; all are stopped afterwards."""
    started: list[Up] = []

    def begin(name: str, *options: str, port: int | None = None) -> Up:
        started.append(Up(private_folder / name, port or free_port(), *options))
        return started[-1]

    yield begin
    for one in started:
        one.stop()
        shutil.rmtree(one.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def running(start: Callable[..., Up]) -> Up:
    """Return an `activity up` with demo data that is ready."""
    one = start("shared folder")
    one.ready()
    return one


def test_ready_means_that_every_signal_is_served(running: Up) -> None:
    ready = running.ready()

    assert set(ready) == {"url", "api_key", "tenant_id", "database_url", "broker_url"}
    for path in ("patterns", "cost-analysis", "attention-queue"):
        status, body = get(ready, f"api/v1/activity/{path}")
        assert status == 200
        assert body["snapshot"]["verified_at"]


def test_the_ready_file_and_the_secrets_are_private(running: Up) -> None:
    for path in (running.ready_file, running.folder / "credentials.json", running.folder / "demo-key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_url_and_key_are_printed_and_no_other_secret(running: Up) -> None:
    ready = running.ready()

    printed = running.output.read_text()

    assert ready["url"] in printed
    assert ready["api_key"] in printed
    assert ready["database_url"] not in printed
    assert ready["broker_url"] not in printed


def test_no_argument_carries_a_secret(running: Up) -> None:
    credentials = json.loads((running.folder / "credentials.json").read_text())
    secrets = [*credentials.values(), running.ready()["api_key"]]

    words = [word for process in running.processes() for word in process.cmdline()]

    assert words
    assert not [word for word in words if any(secret in word for secret in secrets)]


def test_the_owner_is_no_superuser(running: Up) -> None:
    connection = psycopg2.connect(running.ready()["database_url"])
    with connection, connection.cursor() as cursor:
        cursor.execute("select rolsuper from pg_roles where rolname = current_user")
        assert cursor.fetchone() == (False,)
    connection.close()


def test_a_second_one_on_the_same_folder_is_refused(running: Up, start: Callable[..., Up]) -> None:
    second = start(running.folder.name)

    assert second.process.wait(READY_S) == 1
    assert "another `activity up` runs on this folder" in second.output.read_text()
    assert running.process.poll() is None
    assert running.ready_file.exists()


def test_a_port_in_use_is_refused_before_anything_starts(running: Up, start: Callable[..., Up]) -> None:
    second = start("port-taken", port=running.port)

    assert second.process.wait(READY_S) == 1
    assert f"port {running.port} on 127.0.0.1: cannot be listened on" in second.output.read_text()
    assert not (second.folder / "postgres").exists()


def test_a_port_stays_taken_while_its_api_is_started_again(running: Up, start: Callable[..., Up]) -> None:
    # Whoever would start it again is stopped, so that nobody listens.
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        [api] = apis_of(running)
        children.end([api], ((signal.SIGKILL, STOPPED_S),))
        children.end_group(api.pid)
        running.until(lambda: not listens(running.port), STOPPED_S)

        second = start("port-free-for-a-moment", port=running.port)

        assert second.process.wait(READY_S) == 1
        assert not (second.folder / "postgres").exists()
    finally:
        os.kill(running.process.pid, signal.SIGCONT)
    running.until(lambda: serves(running), STOPPED_S)


def test_a_child_that_dies_is_started_again(running: Up) -> None:
    [api] = apis_of(running)
    api.kill()

    # What it leaves behind may serve for a moment longer: a new one must.
    running.until(lambda: apis_of(running) not in ([], [api]) and serves(running), STOPPED_S)


def apis_of(up: Up) -> list[psutil.Process]:
    """Return the living ones: one that has ended, and whose end was not looked at yet, has no command line."""
    living = [child for child in psutil.Process(up.process.pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    return [process for process in living if "api" in process.cmdline()]


def serves(up: Up) -> bool:
    try:
        return get(up.ready(), "readyz")[0] == 200
    except OSError:
        return False


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_two_run_side_by_side_and_one_without_demo_has_no_key(running: Up, start: Callable[..., Up]) -> None:
    other = start("without-demo", "--no-demo")

    ready = other.ready()

    assert (ready["api_key"], ready["tenant_id"]) == (None, None)
    assert "activity keys create" in other.output.read_text()
    assert ready["url"] != running.ready()["url"]
    assert other.stop() == 0


def test_nothing_is_left_after_sigterm_and_a_restart_finds_key_and_data(start: Callable[..., Up]) -> None:
    first = start("restarted")
    before = first.ready()
    mine = {process.pid for process in first.processes()}
    assert mine

    assert first.stop() == 0

    assert first.processes() == []
    assert not first.ready_file.exists()
    socket.create_server(("127.0.0.1", first.port)).close()
    again = start("restarted", port=first.port)
    after = again.ready()
    assert after["api_key"] == before["api_key"]
    assert "loading demo data" not in again.output.read_text().split("stopped", 1)[1]
    assert again.stop() == 0


def test_a_start_after_sigkill_replaces_what_was_left(start: Callable[..., Up]) -> None:
    first = start("killed-up")
    first.ready()
    first.kill()
    first.ready_file.unlink()

    again = start("killed-up", port=first.port)

    assert again.ready()["url"] == f"http://127.0.0.1:{first.port}/"
    assert again.stop() == 0
    assert again.processes() == []


def test_an_interruption_while_it_starts_leaves_nothing(start: Callable[..., Up]) -> None:
    one = start("interrupted")
    one.until((one.folder / "postgres").exists, READY_S)

    assert one.stop() == 0

    assert one.processes() == []
    assert not one.ready_file.exists()


def test_servers_that_die_come_back_under_their_old_addresses(running: Up) -> None:
    names = ("postgres", "valkey-server")
    servers = [child for child in psutil.Process(running.process.pid).children() if child.name() in names]
    assert len(servers) == 2
    for server in servers:
        server.kill()

    def serves() -> bool:
        try:
            redis.Redis.from_url(running.ready()["broker_url"]).ping()
            psycopg2.connect(running.ready()["database_url"]).close()
            return get(running.ready(), "api/v1/activity/patterns")[0] == 200
        except (OSError, redis.RedisError, psycopg2.OperationalError):
            return False

    running.until(serves, STOPPED_S)
