"""`activity api`: the read layer, one or more processes."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import click
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from api import logs
from api.credentials import tokens_of
from api.logs import FORMATTER
from ops import startup
from snapshots import settings

if TYPE_CHECKING:
    from snapshots.settings import Settings

#: An option of glibc's mallopt (malloc.h); another C library has no such function, or ignores it.
_M_ARENA_MAX: Final = -8


@click.command()
@click.option("--host", help="Address to listen on; default ACTIVITY_API_HOST.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on; default ACTIVITY_API_PORT.")
def api(host: str | None, port: int | None) -> None:
    """Serve the read layer."""
    current = settings.load()
    logs.configure(current.log_level)
    # A file of public keys that is none ends here, by name, and not in each process.
    tokens_of(current, partial(datetime.now, UTC), time.monotonic)
    startup.check_port(host or current.api_host, port or current.api_port)
    _share_one_heap()
    with tempfile.TemporaryDirectory(prefix="activity-metrics-") as folder:
        # Where the processes' numbers meet. prometheus-client looks for it once, when it is imported: not before here.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # noqa: TID251  # the library's variable
        serve("api.wsgi:get_app", current, host or current.api_host, port or current.api_port)


def serve(target: str, current: Settings, host: str, port: int) -> None:
    """Serve `target`, an application factory, until told to stop."""
    Granian(
        target,
        factory=True,
        interface=Interfaces.WSGI,
        # Without TLS there is no HTTP/2 to speak of; the proxy in front speaks it.
        http=HTTPModes.http1,
        address=host,
        port=port,
        workers=current.api_processes,
        # One more than may work waits a moment for them, and one is left for what is answered from memory.
        blocking_threads=current.api_threads + 2,
        log_dictconfig={"formatters": {"generic": FORMATTER, "access": FORMATTER}},
        log_level=LogLevels(current.log_level.lower()),
        respawn_failed_workers=True,
    ).serve()


def _share_one_heap() -> None:
    """Have the C library keep one heap instead of one per thread: each would keep what it once needed, some MB.

    The processes that serve inherit it. Under the interpreter's lock their threads hardly meet there.
    """
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):
        allocator.mallopt(_M_ARENA_MAX, 1)
