"""Child processes: started apart from the terminal, ended for certain, found again when their supervisor was killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: A signal, and the seconds given to it before the next one.
Step = tuple[signal.Signals, float]

#: Ask, then insist.
POLITE: Final[Sequence[Step]] = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 10.0))

#: Names the instance that a process belongs to, in the environment of each child: the next start finds leftovers by it.
INSTANCE_VARIABLE: Final = "ACTIVITY_INSTANCE"

_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.02
#: What is left of a signal's time once somebody is in a hurry, seconds.
_HURRIED_S: Final = 1.0

#: A log that is larger gives way to a new one, bytes; one predecessor is kept.
LOG_LIMIT: Final = 20_000_000


def spawn(
    arguments: Sequence[str | Path],
    log_file: Path,
    *,
    env: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    farewell: signal.Signals = signal.SIGTERM,
    **more: Any,  # noqa: ANN401  # subprocess.Popen's own arguments
) -> psutil.Popen:
    """Start a child in a session of its own, so that Ctrl-C in the terminal does not reach it; output goes to a file.

    Should this process be killed, the child is sent `farewell` (on Linux). Call from the main thread: the kernel takes
    the end of the calling thread for the end of the parent.
    """
    with _open_log(log_file) as log:
        return psutil.Popen(
            [str(word) for word in arguments],
            stdin=stdin,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
            preexec_fn=_outlived_by_nobody(farewell),
            **more,
        )


def _outlived_by_nobody(farewell: signal.Signals) -> Callable[[], object] | None:
    """Return what the child calls before it becomes its program; loaded here, since a fork must not import."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(farewell))


def _open_log(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    bound_log(path)
    return path.open("ab")


def bound_log(path: Path, limit: int = LOG_LIMIT) -> None:
    """Begin a log of more than `limit` bytes anew; its process goes on in it, and one predecessor is kept.

    A line of that very moment may be lost; on a full disk, the predecessor.
    """
    try:
        if path.stat().st_size <= limit:
            return
    except OSError:  # there is none yet
        return
    with contextlib.suppress(OSError):
        shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)


def tail(path: Path, size: int = 4096) -> str:
    """Return the last `size` bytes of a log."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode(errors="replace")


def last_line(words: str) -> str:
    """Return the line that tells most: the last fatal one, or the last."""
    lines = [line.strip() for line in words.splitlines() if line.strip()] or ["no message"]
    fatal = [line for line in lines if "FATAL" in line or "error:" in line]
    return (fatal or lines)[-1]


def end(
    processes: Sequence[psutil.Process], steps: Sequence[Step] = POLITE, *, hurried: Callable[[], bool] = bool
) -> list[psutil.Process]:
    """End `processes` together, by one signal after the other until they are gone; return those that would not go.

    `hurried` is asked all along whether to go on to the next signal at once.
    """
    alive = [process for process in processes if not has_ended(process)]
    for number, patience_s in steps:
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        alive = _wait(alive, time.monotonic() + patience_s, hurried)
    return alive


def _wait(alive: list[psutil.Process], deadline: float, hurried: Callable[[], bool]) -> list[psutil.Process]:
    while alive and time.monotonic() < deadline:
        alive = [process for process in alive if not has_ended(process)]
        if alive:
            time.sleep(_POLL_S)
        if hurried():
            deadline = min(deadline, time.monotonic() + _HURRIED_S)
    return alive


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process is over; one that its parent has not noticed yet counts as over."""
    try:
        if isinstance(process, psutil.Popen):
            return process.poll() is not None
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end_group(leader: int) -> None:
    """Kill what is left of the process group that `leader` led: pool processes outlive a leader that was killed."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def servers_in(folder: Path, name: str) -> list[psutil.Process]:
    """Return the servers called `name` that work in `folder`, as PostgreSQL and Valkey do in that of their data."""
    return [process for process in _processes() if _reads(process, name, folder)]


def _reads(process: psutil.Process, name: str, folder: Path) -> bool:
    try:
        return process.name() == name and Path(process.cwd()) == folder
    except (psutil.Error, OSError):
        return False


def is_stranger(pid: int, name: str, folder: Path) -> bool:
    """Tell whether `pid` is certainly no live `name` that works in `folder`; in doubt it is not.

    A process of another user may hide its folder from us: what cannot be seen must not be taken for gone.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or process.name() != name:
            return True
        return Path(process.cwd()) != folder
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OSError):
        return False


def of_instance(instance: str) -> list[psutil.Process]:
    """Return the processes whose environment names `instance`, children of children included; never this one."""
    return [process for process in _processes() if process.pid != os.getpid() and _belongs(process, instance)]


def _belongs(process: psutil.Process, instance: str) -> bool:
    try:
        return process.environ().get(INSTANCE_VARIABLE) == instance
    except (psutil.Error, OSError):
        return False


def _processes() -> Iterable[psutil.Process]:
    return psutil.process_iter()
