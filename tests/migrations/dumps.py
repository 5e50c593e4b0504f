"""pg_dump, psql and pg_restore of the server that a test runs on."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.postgres import BINARIES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Server


def dump(server: Server, url: str, *options: str) -> str:
    """Return what pg_dump writes of the database that `url` names, as lines of SQL without what differs by chance."""
    written = run(server, "pg_dump", "--dbname", url, *options)
    # Newer versions frame a dump in a random word.
    return "\n".join(line for line in written.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def restore(server: Server, url: str, archive: Path, *options: str) -> None:
    """Restore an archive into the database that `url` names; the first error ends it."""
    run(server, "pg_restore", "--exit-on-error", "--dbname", url, *options, str(archive))


def run(server: Server, program: str, *arguments: str) -> str:
    """Run a program of the server's and return its output. Raises CalledProcessError."""
    command = [str(BINARIES[server.name] / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout
