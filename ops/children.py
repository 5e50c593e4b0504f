"""Child processes: started apart from the terminal, ended for certain, found again when their supervisor was killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: Names the instance that a process belongs to, in the environment of each child: the next start finds leftovers by it.
INSTANCE_VARIABLE: Final = "ACTIVITY_INSTANCE"

#: A log that is larger at start gives way to a new one, bytes; one predecessor is kept.
_LOG_LIMIT: Final = 20_000_000

#: Signals and the seconds that each is given: ask, then insist.
POLITE: Final = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0))


def spawn(arguments: Sequence[str | Path], log_file: Path, env: Mapping[str, str], **options: Any) -> psutil.Popen:
    """Start a child in a session of its own, so that Ctrl-C in the terminal does not reach it; output goes to a file."""
    with _open_log(log_file) as log:
        return psutil.Popen(
            [str(argument) for argument in arguments],
            stdin=options.pop("stdin", None) or _nothing(),
            stdout=log,
            stderr=log,
            env=dict(env),
            start_new_session=True,
            **options,
        )
