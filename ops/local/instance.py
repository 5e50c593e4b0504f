"""The data folder of one `activity up`: its lock, its secrets, its logs."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """The passwords of the embedded database's login roles, by part."""

    owner: str = field(repr=False)
    worker: str = field(repr=False)
    auth: str = field(repr=False)
    reader: str = field(repr=False)
    triage: str = field(repr=False)
    ingest: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Instance:
    """One installation: everything that it keeps lies in `folder`, which is readable by its user alone."""

    folder: Path

    @property
    def logs(self) -> Path:
        """Return the folder of the processes' logs."""
        return self.folder / "log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the kernel releases it however this process ends.

        Raises ActivityError when another process holds it, or it cannot be made.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as ex:
            raise ActivityError(
                f"{self.folder}: cannot be used ({ex.strerror}); choose another with --data-dir"
            ) from ex
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as ex:
            raise ActivityError(
                f"{self.folder}: another `activity up` runs on this folder; stop it, or choose another with --data-dir"
            ) from ex
        finally:
            os.close(handle)

    def credentials(self) -> Credentials:
        """Return the passwords, made at the first call and kept in a file of mode 0600."""
        path = self.folder / "credentials.json"
        if path.exists():
            return _read_credentials(path)
        made = Credentials(*(secrets.token_hex(24) for _ in fields(Credentials)))
        write_private(path, json.dumps(asdict(made)))
        return made

    def demo_key(self) -> str | None:
        """Return the API key that was made for the demo's tenant, if one was.

        Raises ActivityError naming its file when that cannot be read.
        """
        path = self.folder / "demo-key"
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            return None
        except OSError as ex:
            raise ActivityError(f"{path}: cannot be read ({ex.strerror}); expected the key that was kept there") from ex

    def keep_demo_key(self, token: str) -> None:
        """Keep the API key of the demo's tenant in a file of mode 0600."""
        write_private(self.folder / "demo-key", f"{token}\n")

    def keep_environment(self, variables: Mapping[str, str]) -> None:
        """Keep shell assignments for `. FOLDER/environment` in a file of mode 0600: they let commands speak to it."""
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        write_private(self.folder / "environment", "".join(lines))


def write_private(path: Path, words: str) -> None:
    """Write a file of mode 0600 in one step: a reader sees all of it or none.

    Raises ActivityError naming the file when it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123  # a mode
            file.write(words)
        unfinished.replace(path)
    except OSError as ex:
        raise ActivityError(f"{path}: cannot be written ({ex.strerror})") from ex


def _read_credentials(path: Path) -> Credentials:
    try:
        kept = json.loads(path.read_text())
        made = {field.name: secrets.token_hex(24) for field in fields(Credentials) if field.name not in kept}
        found = Credentials(**{**kept, **made})
    except (ValueError, TypeError) as ex:
        raise ActivityError(f"{path}: is damaged; remove it, and new passwords are made at the next start") from ex
    except OSError as ex:
        raise ActivityError(f"{path}: cannot be read ({ex.strerror}); expected the passwords that were kept") from ex
    if made:
        # A part that is new in this version gets its password; the others keep theirs.
        write_private(path, json.dumps(asdict(found)))
    return found
