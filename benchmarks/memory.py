"""Memory of a worker process: resident after refreshing everything, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: ru_maxrss counts kilobytes on Linux.
_KB_PER_MB = 1024


def worker_memory_mb(url: str) -> float:
    """Return the most memory, MB, that a process held which imported the worker and refreshed every signal twice."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_refresh_all, args=(url, theirs))
    process.start()
    peak: float = ours.recv()
    process.join()
    return peak


def _refresh_all(url: str, answer: Connection) -> None:
    # What a worker process imports, and nothing of the benchmark.
    from snapshots import database, settings  # noqa: PLC0415  # this runs in the other process
    from worker import app  # noqa: PLC0415  # as above
    from worker.engine.refresh import refresh  # noqa: PLC0415  # as above
    from worker.signals.registry import SIGNALS  # noqa: PLC0415  # as above

    current = settings.load(database_url=url, broker_url="redis://127.0.0.1:6379/0")
    app.create_app(current)
    engine = database.connect(url, name="activity bench", pool_size=2)
    for mode in ("reconcile", "tick"):
        for signal in SIGNALS:
            refresh(engine, signal, current, mode=mode)
    engine.dispose()
    answer.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KB_PER_MB)
