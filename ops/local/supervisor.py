"""The processes of one instance: started, started again when they end, and stopped in order."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ops.local import children
from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import psutil

#: The delay before a process that ended is started again doubles from the first to the second, seconds.
_FIRST_DELAY_S: Final = 1.0
_LONGEST_DELAY_S: Final = 30.0
#: One that ran for this long starts over with the first delay, seconds.
_SETTLED_S: Final = 60.0
#: As many ends in a row are no accident.
_UNSTEADY: Final = 4
_STOP: Final[Sequence[children.Step]] = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0))


@dataclass(frozen=True, slots=True)
class Program:
    """One process: what it runs, and its environment, which carries the secrets that arguments must not."""

    name: str
    arguments: Sequence[str]
    env: Mapping[str, str] = field(repr=False)


@dataclass(slots=True)
class _Child:
    program: Program
    log_file: Path
    process: psutil.Popen
    started: float
    ends_in_a_row: int = 0
    due: float | None = None


class Supervisor:
    """Keeps programs running; a single thread drives it through `watch`."""

    def __init__(self, logs: Path, report: Callable[[str], None]) -> None:
        """Write the programs' output to files in `logs`, and what happens to them to `report`."""
        self._logs = logs
        self._report = report
        self._children: dict[str, _Child] = {}

    def start(self, program: Program) -> None:
        """Start a program."""
        log_file = self._logs / f"{program.name}.log"
        self._children[program.name] = _Child(program, log_file, self._spawn(program, log_file), time.monotonic())

    def watch(self) -> None:
        """Start again what has ended, after a delay that grows with each end in a row; returns at once."""
        for child in self._children.values():
            children.bound_log(child.log_file)
            if child.due is None and child.process.poll() is not None:
                self._note_end(child)
            if child.due is not None and time.monotonic() >= child.due:
                child.process, child.started = self._spawn(child.program, child.log_file), time.monotonic()
                child.due = None

    def check_steady(self) -> None:
        """Raise ActivityError when a program has ended again and again since it was started."""
        for child in self._children.values():
            if child.ends_in_a_row >= _UNSTEADY:
                raise ActivityError(f"{child.program.name} does not stay up; see {child.log_file}")

    def stop(self, names: Sequence[str], hurried: Callable[[], bool]) -> None:
        """Stop the programs of these names together; `hurried` cuts their time short."""
        going = [child.process for child in (self._children.pop(name, None) for name in names) if child is not None]
        children.end(going, _STOP, hurried=hurried)
        for process in going:
            children.end_group(process.pid)

    def _spawn(self, program: Program, log_file: Path) -> psutil.Popen:
        return children.spawn(program.arguments, log_file, env=program.env)

    def _note_end(self, child: _Child) -> None:
        now = time.monotonic()
        children.end_group(child.process.pid)
        if now - child.started > _SETTLED_S:
            child.ends_in_a_row = 0
        delay_s = min(_FIRST_DELAY_S * 2**child.ends_in_a_row, _LONGEST_DELAY_S)
        child.ends_in_a_row += 1
        child.due = now + delay_s
        self._report(
            f"{child.program.name} ended ({_ending(child.process.returncode)}); "
            f"starting it again in {delay_s:.0f} s; see {child.log_file}"
        )


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"
