"""The system user that runs PostgreSQL: ourselves, or an unprivileged one when we are root, which it refuses."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_DEDICATED: Final = "embedded_postgres"
_FALLBACK: Final = "nobody"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """A system user that servers run as; `options` are subprocess arguments that switch to it."""

    uid: int
    gid: int
    switches: bool

    @property
    def options(self) -> dict[str, Any]:
        """Return the subprocess arguments that make a child run as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switches else {}

    def own(self, folder: Path) -> None:
        """Make this user the owner of `folder` and all in it."""
        if not self.switches:
            return
        for path in (folder, *folder.rglob("*")):
            if path.lstat().st_uid != self.uid:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def open_way_to(self, path: Path) -> None:
        """Let this user traverse the folders above `path`: search permission is added where it lacks, no more."""
        if not self.switches:
            return
        folders = reversed(path.resolve().parents)
        opened = [str(folder) for folder in folders if self._open(folder, stat.S_IXOTH, stat.S_IXUSR)]
        if opened:
            _log.warning("opened for the user that runs PostgreSQL (o+x): %s", ", ".join(opened))

    def open_tree(self, root: Path) -> None:
        """Let this user read `root` and all in it: a wheel installed under a strict umask is closed to others."""
        if not self.switches or not root.is_dir():
            return
        self.open_way_to(root)
        inside = (path for path in root.rglob("*") if not path.is_symlink())
        opened = [self._open_to_readers(path) for path in (root, *inside)]
        if any(opened):
            _log.warning("opened for the user that runs PostgreSQL (o+rX): %s and what is in it", root)

    def _open_to_readers(self, path: Path) -> bool:
        if path.stat().st_mode & stat.S_IXUSR:
            return self._open(path, stat.S_IROTH | stat.S_IXOTH, stat.S_IRUSR | stat.S_IXUSR)
        return self._open(path, stat.S_IROTH, stat.S_IRUSR)

    def _open(self, path: Path, for_others: int, for_owner: int) -> bool:
        """Give others the bits `for_others` unless this user has them already; return whether that was needed."""
        status = path.stat()
        if status.st_mode & for_others == for_others:
            return False
        if status.st_uid == self.uid and status.st_mode & for_owner == for_owner:
            return False
        path.chmod(stat.S_IMODE(status.st_mode) | for_others)
        return True


@cache
def server_account() -> Account:
    """Return the user that PostgreSQL runs as; root gets a dedicated one, or `nobody` where none can be made."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switches=False)
    entry = _find(_DEDICATED) or _make(_DEDICATED) or pwd.getpwnam(_FALLBACK)
    return Account(entry.pw_uid, entry.pw_gid, switches=True)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _make(name: str) -> pwd.struct_passwd | None:
    """Make a system user without a home and a shell; another process may do the same at the same time."""
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    with contextlib.suppress(OSError):  # no useradd on this system
        subprocess.run(command, check=False, capture_output=True)  # noqa: S603  # a constant
    return _find(name)
