"""`activity exporter`: metrics of refreshes, queues, workers and beat, for Prometheus."""

from __future__ import annotations

import logging
import threading

import click
from prometheus_client import CollectorRegistry, start_http_server

from ops import logs, ports
from ops.health import watch
from ops.health.metrics import HealthCollector
from ops.local.interruption import Interruption
from snapshots import settings

_log = logging.getLogger(__name__)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65_535), default=9108, show_default=True, help="Port to listen on.")
def exporter(host: str, port: int) -> None:
    """Serve /metrics about what the workers did and what waits; the read layer has its own.

    It asks PostgreSQL (as the worker) and the broker, survives either being away, and says so by metrics.
    """
    current = settings.load()
    logs.configure(current.log_level)
    ports.check(host, port)
    registry = CollectorRegistry()
    registry.register(HealthCollector(watch.Watch(watch.connect(current, "activity exporter"), current)))
    server, _ = start_http_server(port, host, registry)
    _log.info("exporter: http://%s:%d/metrics", host, port)
    with Interruption():
        threading.Event().wait()
    server.shutdown()
    server.server_close()
