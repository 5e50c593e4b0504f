"""The embedded PostgreSQL: it starts in any folder, survives every end, and refuses what it cannot read."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg2
import pytest
from sqlalchemy import text

from ops.local import children
from ops.local.embedded.postgres import EMBEDDED_BINARIES, PostgresCluster
from snapshots import database
from snapshots.errors import ActivityError, DatabaseUnavailableError
from tests.postgres import DEBIAN_BINARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT = Path(__file__).parents[2]
_DEADLINE_S = 30.0

#: A supervisor that says when its cluster answers and then waits to be killed.
_SUPERVISOR = """
import sys, time
from pathlib import Path
from ops.local.embedded.postgres import EMBEDDED_BINARIES, PostgresCluster
PostgresCluster(EMBEDDED_BINARIES, Path(sys.argv[1]), durable=False).start()
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def cluster_in(private_folder: Path) -> Iterator[Callable[..., PostgresCluster]]:
    """Return a factory of clusters in folders that are named; they are stopped afterwards."""
    made: list[PostgresCluster] = []

    def make(name: str, binaries: Path = EMBEDDED_BINARIES) -> PostgresCluster:
        made.append(PostgresCluster(binaries, private_folder / name, durable=False))
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


def ask(url: str, statement: str) -> Any:  # noqa: ANN401  # whatever the statement returns
    """Return the first column of the statement's row, or None, and commit."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
    finally:
        connection.close()


def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds."""
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def pid_of(cluster: PostgresCluster) -> int:
    assert cluster.process is not None
    return int(cluster.process.pid)


def test_data_survives_a_restart(cluster_in: Callable[..., PostgresCluster]) -> None:
    first = cluster_in("restart")
    first.start()
    ask(first.superuser_url(), "create table kept (n int); insert into kept values (7)")
    first.stop()

    second = cluster_in("restart")
    second.start()

    assert ask(second.superuser_url(), "select n from kept") == 7


def test_a_stopped_cluster_leaves_no_process(cluster_in: Callable[..., PostgresCluster], private_folder: Path) -> None:
    cluster = cluster_in("stopped")
    cluster.start()
    cluster.stop()

    assert children.servers_in(private_folder / "stopped" / "data", "postgres") == []
    assert not (private_folder / "stopped" / "data" / "postmaster.pid").exists()


def test_a_cluster_comes_back_after_its_postmaster_was_killed(cluster_in: Callable[..., PostgresCluster]) -> None:
    cluster = cluster_in("killed")
    cluster.start()
    ask(cluster.superuser_url(), "create table kept (n int); insert into kept values (7)")
    ask(cluster.superuser_url(), "checkpoint")
    os.kill(pid_of(cluster), signal.SIGKILL)

    again = cluster_in("killed")
    again.start()

    assert ask(again.superuser_url(), "select n from kept") == 7


def test_a_server_that_was_left_behind_is_replaced(cluster_in: Callable[..., PostgresCluster]) -> None:
    left_behind = cluster_in("left")
    left_behind.start()
    old_pid = pid_of(left_behind)

    again = cluster_in("left")
    again.start()

    assert pid_of(again) != old_pid
    assert ask(again.superuser_url(), "select 1") == 1
    assert left_behind.process is not None
    assert left_behind.process.poll() is not None


def test_a_stale_pid_file_that_names_a_foreign_process_is_no_hindrance(
    cluster_in: Callable[..., PostgresCluster], private_folder: Path
) -> None:
    cluster = cluster_in("stale")
    cluster.start()
    pid_file = private_folder / "stale" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    os.kill(pid_of(cluster), signal.SIGKILL)
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))

    again = cluster_in("stale")
    again.start()

    assert ask(again.superuser_url(), "select 1") == 1


def test_a_killed_supervisor_takes_its_server_along_or_the_next_start_does(
    cluster_in: Callable[..., PostgresCluster], private_folder: Path
) -> None:
    folder = private_folder / "orphan"
    command = [sys.executable, "-c", _SUPERVISOR, str(folder)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "up\n"
        supervisor.kill()

    cluster = cluster_in("orphan")
    cluster.start()

    assert ask(cluster.superuser_url(), "select 1") == 1


def test_a_folder_of_another_version_is_refused_naming_both(cluster_in: Callable[..., PostgresCluster]) -> None:
    if not DEBIAN_BINARIES.is_dir():
        pytest.skip(f"{DEBIAN_BINARIES} is absent: no server of another version on this machine")
    older = cluster_in("older", DEBIAN_BINARIES)
    older.start()
    older.stop()

    with pytest.raises(ActivityError, match=r"older: holds data of PostgreSQL 15, and this server is PostgreSQL \d+"):
        cluster_in("older").start()


def test_an_initialisation_that_was_interrupted_is_begun_anew(
    cluster_in: Callable[..., PostgresCluster], private_folder: Path
) -> None:
    half_made = private_folder / "half" / "data.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")

    cluster = cluster_in("half")
    cluster.start()

    assert ask(cluster.superuser_url(), "select 1") == 1


@pytest.mark.parametrize(
    "name", ["long-" * 20 + "name", "with space", "comma,comma", 'quote\'s "folder"', "ümlaut+plus%20"]
)
def test_any_folder_will_do(cluster_in: Callable[..., PostgresCluster], name: str) -> None:
    cluster = cluster_in(name)
    cluster.start()
    engine = database.connect(cluster.superuser_url())

    with engine.connect() as conn:
        assert conn.execute(text("select 1")).scalar_one() == 1
    assert ask(cluster.superuser_url(), "select 1") == 1
    engine.dispose()


def test_the_socket_beyond_a_long_path_goes_with_the_server(cluster_in: Callable[..., PostgresCluster]) -> None:
    cluster = cluster_in("deep-" * 20 + "folder")
    cluster.start()
    socket_folder = Path(ask(cluster.superuser_url(), "show unix_socket_directories").strip('"'))
    assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700

    cluster.stop()

    assert not socket_folder.exists()


def test_a_password_is_asked_for_and_no_port_is_open(cluster_in: Callable[..., PostgresCluster]) -> None:
    cluster = cluster_in("closed")
    cluster.start()

    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(cluster.url("postgres", "guess", "postgres"))
    assert not psutil.Process(pid_of(cluster)).net_connections(kind="inet")
    assert ask(cluster.superuser_url(), "select count(*) from pg_hba_file_rules where auth_method = 'trust'") == 0


def test_names_and_passwords_are_quoted_in_the_url(cluster_in: Callable[..., PostgresCluster]) -> None:
    cluster = cluster_in("quoted")
    cluster.start()
    ask(cluster.superuser_url(), "create role \"odd@name\" login password 'p@ss/w:rd%?# '")

    assert ask(cluster.url("odd@name", "p@ss/w:rd%?# ", "postgres"), "select current_user") == "odd@name"


def test_the_password_file_is_private(cluster_in: Callable[..., PostgresCluster], private_folder: Path) -> None:
    cluster_in("private").start()

    mode = (private_folder / "private" / "superuser-password").stat().st_mode

    assert stat.S_IMODE(mode) == 0o600


def test_a_folder_whose_password_is_gone_is_refused_naming_the_file(
    cluster_in: Callable[..., PostgresCluster], private_folder: Path
) -> None:
    cluster = cluster_in("locked out")
    cluster.start()
    cluster.stop()
    (private_folder / "locked out" / "superuser-password").unlink()

    with pytest.raises(ActivityError, match=r"superuser-password: cannot be read \(No such file"):
        cluster.start()
    assert cluster.process is None


def test_a_server_that_cannot_start_is_reported_with_its_own_words(
    cluster_in: Callable[..., PostgresCluster], private_folder: Path
) -> None:
    cluster = cluster_in("broken")
    cluster.start()
    cluster.stop()
    with (private_folder / "broken" / "data" / "postgresql.conf").open("a") as file:
        file.write("\nno_such_setting = 1\n")

    with pytest.raises(DatabaseUnavailableError, match=r"ended while starting: .*configuration file"):
        cluster.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_root_runs_the_server_as_another_user_in_a_closed_folder(
    cluster_in: Callable[..., PostgresCluster], private_folder: Path
) -> None:
    closed = private_folder / "closed-to-others"
    closed.mkdir(mode=0o700)

    cluster = cluster_in("closed-to-others/inner")
    cluster.start()

    assert psutil.Process(pid_of(cluster)).uids().real != 0
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701
