"""Samples of a scrape, as Prometheus would store them."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from tests.ops.promql import Series

EXPORTER_JOB = "activity-exporter"
API_JOB = "activity-api"
RECEIVER_JOB = "activity-receive"


def samples(text: str, job: str) -> dict[Series, float]:
    """Return the samples of an exposition by name and labels, with the label that a scrape adds."""
    families = text_string_to_metric_families(text)
    return {
        (each.name, frozenset({**each.labels, "job": job}.items())): each.value
        for family in families
        for each in family.samples
    }


def fetch(port: int, path: str = "/metrics") -> tuple[int, str]:
    """Ask a server on the loopback, and return the status and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def value(found: dict[Series, float], name: str, **labels: str) -> float | None:
    """Return the sample with these labels among others, None when there is none; there must not be two."""
    wanted = set(labels.items())
    values = [number for (known, of), number in found.items() if known == name and wanted <= of]
    assert len(values) <= 1, f"{name}: {len(values)} samples with {labels}"
    return values[0] if values else None
