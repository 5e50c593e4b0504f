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
    from collections.abc import Iterable
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
        if self.switches:
            for folder in reversed(path.resolve().parents):
                self._add(folder, stat.S_IXOTH, stat.S_IXUSR)

    def open_tree(self, root: Path) -> None:
        """Let this user read `root` and all in it: a wheel installed under a strict umask is closed to others."""
        if not self.switches or not root.is_dir():
            return
        self.open_way_to(root)
        for path in (root, *_without_links(root.rglob("*"))):
            if path.is_dir() or path.stat().st_mode & stat.S_IXUSR:
                self._add(path, stat.S_IROTH | stat.S_IXOTH, stat.S_IRUSR | stat.S_IXUSR)
            else:
                self._add(path, stat.S_IROTH, stat.S_IRUSR)

    def _add(self, path: Path, for_others: int, for_owner: int) -> None:
        """Give others the bits `for_others` on `path` unless this user already has them, as others or as the owner."""
        status = path.stat()
        has = status.st_mode & for_owner == for_owner if status.st_uid == self.uid else False
        if has or status.st_mode & for_others == for_others:
            return
        path.chmod(stat.S_IMODE(status.st_mode) | for_others)
        _log.warning("%s: opened for the user that runs PostgreSQL (o+%s)", path, _letters(for_others))


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


def _without_links(paths: Iterable[Path]) -> Iterable[Path]:
    return (path for path in paths if not path.is_symlink())


def _letters(bits: int) -> str:
    return ("r" if bits & stat.S_IROTH else "") + ("x" if bits & stat.S_IXOTH else "")
