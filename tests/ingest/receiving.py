"""`activity receive` as a child process, as the roles that it runs as."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ops.local import children
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_ROLE
from tests.served.serving import ROOT, Served, end, free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres import Server


@contextmanager
def receiving(server: Server, database: str, folder: Path, **settings: object) -> Iterator[Served]:
    """Run `activity receive` over `database`; all of its processes are gone afterwards."""
    port = free_port()
    own = Path(tempfile.mkdtemp(dir=folder, prefix="receive-"))
    given = {
        "ingest_database_url": server.url_as(INGEST_ROLE, database),
        "auth_database_url": server.url_as(AUTHENTICATOR_ROLE, database),
        "ingest_port": port,
        **settings,
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251  # the child's own
    environment = inherited | {f"ACTIVITY_{name.upper()}": str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "ops.cli", "receive"]
    process = children.spawn(command, own / "output", env=environment | {"TMPDIR": str(own)}, cwd=ROOT)
    served = Served(port, process, own / "output")
    try:
        until(served.is_ready, "ready", lambda: _check_alive(served))
        yield served
    finally:
        end(served)


def _check_alive(served: Served) -> None:
    assert served.process.poll() is None, served.log()
