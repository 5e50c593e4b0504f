"""Every process that reads PostgreSQL, while all of the server is stopped by SIGSTOP."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from migrations import ingest
from snapshots import database
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_ROLE, WORKER_ROLE
from tests.ops.processes import ROOT, free_port, running, until
from tests.ops.scraping import EXPORTER_JOB, fetch, samples, value
from tests.postgres import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A few seconds, and a few more of a machine that is busy with other things.
FEW_S = 15.0
UP = "activity_exporter_database_up"


@pytest.fixture(scope="module")
def own(private_folder: Path) -> Iterator[Server]:
    """Yield a server of this module's own, since it is stopped on the way."""
    folder = private_folder / "frozen"
    folder.mkdir(exist_ok=True)
    server = Server("pg18", folder)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def variables(own: Server) -> dict[str, str]:
    """Return the settings of processes over a migrated database, each with its own role."""
    url = own.create_migrated_database()
    owner = database.connect(url)
    with owner.begin() as conn:
        ingest.open_source(conn)
    owner.dispose()
    return {
        "ACTIVITY_DATABASE_URL": url,
        "ACTIVITY_WORKER_DATABASE_URL": own.url_as(WORKER_ROLE, url),
        "ACTIVITY_AUTH_DATABASE_URL": own.url_as(AUTHENTICATOR_ROLE, url),
        "ACTIVITY_INGEST_DATABASE_URL": own.url_as(INGEST_ROLE, url),
    }


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop the server and each of its backends meanwhile."""
    assert server.cluster.process is not None
    postmaster = psutil.Process(server.cluster.process.pid)
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)


def test_a_scrape_says_that_the_database_is_down(own: Server, variables: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / "log", variables, "exporter", "--port", str(port)):
        until(lambda: "exporter: http" in (tmp_path / "log").read_text(), "the exporter")
        before = samples(fetch(port)[1], EXPORTER_JOB)
        with frozen(own):
            time.sleep(6)  # what was read is told again for 5 s
            began = time.monotonic()
            status, words = fetch(port)
            took_s = time.monotonic() - began
        until(lambda: value(samples(fetch(port)[1], EXPORTER_JOB), UP) == 1, "the database is up again", FEW_S)

    assert status == 200
    assert took_s < FEW_S
    assert value(before, UP) == 1
    assert value(samples(words, EXPORTER_JOB), UP) == 0
    assert "activity_signal_stale{" not in words


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_command_gives_up_and_says_so(own: Server, variables: dict[str, str], command: str) -> None:
    arguments = [sys.executable, "-m", "ops.cli", command]
    with frozen(own):
        ended = subprocess.run(
            arguments, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=6 * FEW_S, check=False
        )

    assert ended.returncode == 1
    assert "the server up?" in ended.stdout + ended.stderr


def test_a_receiver_says_that_it_is_not_ready(own: Server, variables: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / "log", variables, "receive", "--port", str(port)) as process:
        until(lambda: process.poll() is None and is_ready(port), "the receiver")
        with frozen(own):
            began = time.monotonic()
            status, _ = fetch(port, "/readyz")
            took_s = time.monotonic() - began
        until(lambda: is_ready(port), "ready again", 6 * FEW_S)

    assert status == 503
    assert took_s < FEW_S


def is_ready(port: int) -> bool:
    try:
        return fetch(port, "/readyz")[0] == 200
    except OSError:
        return False


def test_a_statement_under_way_ends_at_its_deadline(own: Server, variables: dict[str, str]) -> None:
    engine = database.connect(variables["ACTIVITY_DATABASE_URL"], read_deadline_s=1)
    with engine.connect() as conn:
        conn.execute(text("select 1"))
        with frozen(own), pytest.raises(OperationalError):
            conn.execute(text("select 2"))
        conn.invalidate()
    with engine.connect() as conn:
        assert conn.execute(text("select 3")).scalar_one() == 3
    engine.dispose()


def test_a_deadline_leaves_shorter_statements_alone(variables: dict[str, str]) -> None:
    engine = database.connect(variables["ACTIVITY_DATABASE_URL"], read_deadline_s=4)
    with engine.begin() as conn:
        for _ in range(2):
            assert conn.execute(text("select 1 from pg_sleep(2.5)")).scalar_one() == 1
    engine.dispose()
