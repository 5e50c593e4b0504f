"""The product's own processes, as children of a test."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.local import children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psutil

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.02


@contextmanager
def running(log_file: Path, variables: Mapping[str, str], *arguments: str) -> Iterator[psutil.Popen]:
    """Run `activity` with `arguments` and no settings but `variables`; it and its children are gone afterwards."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251  # the child's own
    command = [sys.executable, "-m", "ops.cli", *arguments]
    process = children.spawn(command, log_file, env={**inherited, **variables}, cwd=ROOT)
    try:
        yield process
    finally:
        family = [process, *(process.children(recursive=True) if not children.has_ended(process) else ())]
        children.end([process])
        children.end(family)


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> float:
    """Poll until `condition` holds, and return how long that took, seconds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + patience_s, f"not in {patience_s:.0f} s: {what}"
        time.sleep(_POLL_S)
    return time.monotonic() - start


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
