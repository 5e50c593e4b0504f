"""Statements to explain: each step of a signal, and the live queries of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from api.http.parameters import Query
from api.queries import runs, summaries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Select

    from snapshots.settings import Settings

#: Requests below /api/v1/activity/ that read the source when they are answered.
LIVE_REQUESTS: Final = (
    "summary/by-status",
    *(
        f"runs/by-dimension?dim={dimension}{state}"
        for dimension in sorted(summaries.ALLOWED_DIMENSIONS)
        for state in ("", "&state=COMPLETED")
    ),
    "runs",
    "runs?sort=completed_at",
    "runs?risk_level=AT_RISK&risk_level=VIOLATED",
    "runs?latency_bucket=STALLED",
)


def live_statement(request: str, tenant: str, settings: Settings) -> Select[*tuple[Any, ...]]:
    """Return the statement that the API runs for `request`, one of LIVE_REQUESTS, of a caller of `tenant`."""
    path, parameters = urlsplit(request).path, parse_qs(urlsplit(request).query)
    without_synthetic = settings.exclude_synthetic
    if path == "summary/by-status":
        query = _query(parameters, summaries.STATUS_PARAMETERS)
        return summaries.StatusScope.of(query, tenant, exclude_synthetic=without_synthetic).statement()
    if path == "runs/by-dimension":
        query = _query(parameters, summaries.DIMENSION_PARAMETERS)
        return summaries.DimensionScope.of(query, tenant, exclude_synthetic=without_synthetic).statement()
    return runs.RunList.of(_query(parameters, runs.PARAMETERS), tenant).statement()


def _query(parameters: Mapping[str, list[str]], allowed: frozenset[str]) -> Query:
    return Query(dict(parameters), allowed)
