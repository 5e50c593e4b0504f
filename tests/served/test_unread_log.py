"""A process whose output nobody reads answers as ever, and has lost nothing of it when somebody does again."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from threading import Thread
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from ops.local import children
from tests.api.arrange import PREFIX
from tests.served.serving import PATIENCE_S, ROOT, Served, environment, free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Server
    from tests.served.tenants import Estate

_PIPE_BYTES: Final = 4096
_ROUNDS: Final = 100
#: Where no server listens: each query is an event on standard error.
_NOWHERE: Final = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def unread() -> Iterator[tuple[int, int]]:
    """Yield the two ends of a pipe, as small as it can be."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    yield reader, writer
    os.close(reader)


@pytest.fixture
def served(server: Server, estate: Estate, unread: tuple[int, int], tmp_path: Path) -> Iterator[Served]:
    """Yield one process that answers, both of whose outputs are the pipe."""
    port = free_port()
    settings = {"api_port": port, "api_processes": 1, "reader_database_url": _NOWHERE}
    variables = environment(server, estate.database, settings) | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "ops.cli", "api"]
    _, output = unread
    process = psutil.Popen(command, env=variables, cwd=ROOT, start_new_session=True, stdout=output, stderr=output)
    os.close(output)
    started = Served(port, process, tmp_path)
    try:
        until(lambda: is_alive(started), "alive")
        yield started
    finally:
        children.end_group(process.pid)
        process.wait()


def is_alive(served: Served) -> bool:
    try:
        return served.get("/livez")[0] == 200
    except OSError:
        return False


def test_nobody_waits_for_whoever_reads_the_log(served: Served, estate: Estate, unread: tuple[int, int]) -> None:
    answers = [served.get(path, estate.first.key)[0] for _ in range(_ROUNDS) for path in ("/livez", f"{PREFIX}/runs")]
    assert answers == [200, 503] * _ROUNDS
    assert served.get("/metrics")[0] == 200

    read: list[bytes] = []
    reading = Thread(target=lambda: read.extend(all_of(unread[0])))
    reading.start()
    served.process.terminate()
    reading.join(PATIENCE_S)

    assert not reading.is_alive()
    lines = [json.loads(line) for line in b"".join(read).splitlines()]
    assert sum(line.get("path") == "/livez" and "status" in line for line in lines) >= _ROUNDS
    assert sum(line.get("status") == 503 for line in lines) == _ROUNDS
    assert sum(line.get("message") == "database_unavailable" for line in lines) == _ROUNDS


def all_of(reader: int) -> Iterator[bytes]:
    """Yield what is written to a pipe until nobody writes there any more."""
    while more := os.read(reader, 65_536):
        yield more
