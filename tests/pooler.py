"""PgBouncer between a test and its server, in any mode."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from ops.local.embedded.account import server_account
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
pool_mode = {mode}
default_pool_size = {size}
ignore_startup_parameters = options,extra_float_digits
"""


def require_pgbouncer() -> str:
    """Return the program, or skip the test where it is absent."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (a Debian package)")
    return program


@contextmanager
def pooled(logins: Sequence[str], *, mode: str, size: int = 20, more: str = "") -> Iterator[list[URL]]:
    """Run PgBouncer before the server of `logins` (URLs), and yield the URLs that lead through it."""
    program, urls, port = require_pgbouncer(), [make_url(login) for login in logins], free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # whoever the pooler runs as
        text = _CONFIGURATION.format(host=urls[0].query["host"], port=port, folder=folder, mode=mode, size=size)
        (folder / "pgbouncer.ini").write_text(text + more)
        (folder / "users").write_text("".join(f'"{url.username}" "{url.password}"\n' for url in urls))
        (folder / "users").chmod(0o644)
        arguments = [program, "-q", str(folder / "pgbouncer.ini")]
        process = subprocess.Popen(arguments, **server_account().options)
        through = [url.set(host="127.0.0.1", port=port, query={}) for url in urls]
        try:
            _wait(through[0])
            yield through
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _wait(url: URL) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        engine = connect(url, keeps_session=False)
        try:
            with engine.connect():
                return
        except OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        finally:
            engine.dispose()


@contextmanager
def pooled_readers(logins: Sequence[URL]) -> Iterator[list[Engine]]:
    """Yield an engine of the read layer per login; their clients share one connection of PostgreSQL."""
    urls = [login.render_as_string(hide_password=False) for login in logins]
    with pooled(urls, mode="transaction", size=1) as through:
        engines = [reading_engine(url) for url in through]
        try:
            yield engines
        finally:
            for engine in engines:
                engine.dispose()


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
