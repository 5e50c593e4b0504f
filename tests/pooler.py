"""A PgBouncer in transaction mode, as it stands in front of the read layer."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy.exc import OperationalError

from ops.embedded.account import server_account
from snapshots.database import connect
from tests.ops.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import URL, Engine

PATIENCE_S: Final = 20.0
_CONFIGURATION: Final = """
[databases]
* = host={host}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 1
ignore_startup_parameters = options,extra_float_digits
"""


@contextmanager
def pooled(logins: Sequence[URL]) -> Iterator[list[Engine]]:
    """Yield an engine per login; its clients share one connection of PostgreSQL."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (a Debian package)")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        pooler = _start(program, Path(folder), port, logins)
        engines = [reading_engine(url.set(host="127.0.0.1", port=port, query={})) for url in logins]
        try:
            _wait(engines[0])
            yield engines
        finally:
            for engine in engines:
                engine.dispose()
            pooler.terminate()
            pooler.wait(PATIENCE_S)


def reading_engine(url: URL) -> Engine:
    """Return an engine as the read layer has them."""
    return connect(
        url,
        keeps_session=False,
        pool_size=8,
        pool_pre_ping=False,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
    )


def _start(program: str, folder: Path, port: int, logins: Sequence[URL]) -> subprocess.Popen[bytes]:
    folder.chmod(0o755)  # whoever the pooler runs as
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(_CONFIGURATION.format(host=logins[0].query["host"], port=port, folder=folder))
    (folder / "users").write_text("".join(f'"{url.username}" "{url.password}"\n' for url in logins))
    (folder / "users").chmod(0o644)
    return subprocess.Popen([program, "-q", str(configuration)], **server_account().options)


def _wait(engine: Engine) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with engine.connect():
                return
        except OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
