"""An application in server processes of its own, until it is told to stop."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

from api.http.logs import FORMATTER

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How granian's advice on threads begins. Ours are chosen: of the receiver's, half only wait for the others.
_ADVICE: Final = "Configuration allows spawning up to"

#: Options of glibc's mallopt (malloc.h) and their values; another C library has no such function, or ignores them.
#: One arena (M_ARENA_MAX); what is large goes back to the system at once (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD; bytes).
_HEAP_OPTIONS: Final = ((-8, 1), (-1, 65_536), (-3, 32_768))
#: The options of granian's allocator, jemalloc: one arena, nothing large kept for each thread, and little that is free.
_ALLOCATOR_VARIABLE: Final = "_RJEM_MALLOC_CONF"
_ALLOCATOR_OPTIONS: Final = "narenas:1,lg_tcache_max:12,dirty_decay_ms:100,muzzy_decay_ms:0"


@dataclass(frozen=True, slots=True)
class Serving:
    """Address to listen on, number of processes, and threads in each."""

    host: str
    port: int
    processes: int
    threads: int
    log_level: str


@contextmanager
def shared_metrics() -> Iterator[None]:
    """Give the processes a folder where their numbers meet.

    prometheus-client looks for it once, when it is imported: not before here.
    """
    with tempfile.TemporaryDirectory(prefix="activity-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # noqa: TID251  # the library's variable
        yield


def serve(target: str, how: Serving, interface: Literal["wsgi", "asginl"] = "wsgi") -> None:
    """Serve `target`, an application factory, until told to stop."""
    _share_one_heap()
    # Its allocator reads the options when it is loaded: not before here.
    from granian import Granian  # noqa: PLC0415  # as said
    from granian.constants import HTTPModes, Interfaces  # noqa: PLC0415  # as said
    from granian.log import LogLevels  # noqa: PLC0415  # as said

    _import_once(target)
    logging.getLogger("_granian").addFilter(lambda record: not record.getMessage().startswith(_ADVICE))
    Granian(
        target,
        factory=True,
        interface=Interfaces(interface),
        # Without TLS there is no HTTP/2 to speak of; the proxy in front speaks it.
        http=HTTPModes.http1,
        address=how.host,
        port=how.port,
        workers=how.processes,
        blocking_threads=how.threads,
        log_dictconfig={"formatters": {"generic": FORMATTER, "access": FORMATTER}},
        log_level=LogLevels(how.log_level.lower()),
        respawn_failed_workers=True,
    ).serve()


def _share_one_heap() -> None:
    """Have both allocators keep one heap instead of one per thread: each would keep what it once needed, some MB.

    The processes that serve inherit it. Under the interpreter's lock their threads hardly meet there.
    """
    os.environ.setdefault(_ALLOCATOR_VARIABLE, _ALLOCATOR_OPTIONS)  # noqa: TID251  # the library's variable
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):
        for option, value in _HEAP_OPTIONS:
            allocator.mallopt(option, value)


def _import_once(target: str) -> None:
    """Import the application before the processes that serve it are forked: its code lies in memory once for all."""
    import_module(target.partition(":")[0])
    gc.collect()
    gc.freeze()
