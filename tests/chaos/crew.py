"""The processes under test, each started again when it ends, as compose and systemd do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psutil

from ops.local import children

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ops.local.supervisor import Program

#: Seconds until one that ended is started again: always the same, since here they end on purpose.
RESTART_S: Final = 1.0
#: What redbeat writes when a beat has become the active one.
_IS_ACTIVE: Final = b"Acquired lock"


@dataclass(slots=True)
class Member:
    """One process: its program, where its output goes and where that of this start begins."""

    program: Program
    log_file: Path
    process: psutil.Popen
    log_from: int = 0
    due: float | None = None

    @property
    def is_up(self) -> bool:
        """Tell whether it runs."""
        return self.due is None and self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """Return the processes that it has started, helpers of multiprocessing aside."""
        try:
            return [each for each in self.process.children() if "resource_tracker" not in " ".join(each.cmdline())]
        except psutil.Error:
            return []

    def has_said(self, words: bytes) -> bool:
        """Tell whether its output since this start holds `words`."""
        with self.log_file.open("rb") as log:
            log.seek(self.log_from)
            return words in log.read()


class Crew:
    """Starts programs and keeps them running; the main thread alone drives it."""

    def __init__(self, logs: Path) -> None:
        """Write the programs' output to files in `logs`."""
        self._logs = logs
        self._members: dict[str, Member] = {}

    def start(self, programs: Iterable[Program]) -> None:
        """Start the programs."""
        for program in programs:
            log_file = self._logs / f"{program.name}.log"
            self._members[program.name] = Member(program, log_file, _spawn(program, log_file))

    def watch(self) -> None:
        """Start again what has ended a moment ago; returns at once."""
        for member in self._members.values():
            if member.due is None and member.process.poll() is not None:
                children.end_group(member.process.pid)
                member.due = time.monotonic() + RESTART_S
            if member.due is not None and time.monotonic() >= member.due:
                member.log_from = member.log_file.stat().st_size
                member.process, member.due = _spawn(member.program, member.log_file), None

    def of(self, kind: str) -> list[Member]:
        """Return the members whose name begins with `kind`, those that run first."""
        found = [member for name, member in self._members.items() if name.startswith(kind)]
        return sorted(found, key=lambda member: not member.is_up)

    def active_beat(self) -> Member | None:
        """Return the beat that rings, None while there is none."""
        return next((beat for beat in self.of("beat") if beat.is_up and beat.has_said(_IS_ACTIVE)), None)

    def stop(self, kind: str) -> None:
        """Stop the members of a kind as an operator does, and forget them."""
        going = [name for name in self._members if name.startswith(kind)]
        processes = [self._members.pop(name).process for name in going]
        children.end(processes)
        for process in processes:
            children.end_group(process.pid)


def _spawn(program: Program, log_file: Path) -> psutil.Popen:
    return children.spawn(program.arguments, log_file, env=program.env)


def kill(processes: Sequence[psutil.Process]) -> None:
    """Send SIGKILL; one that is gone already is let be."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
