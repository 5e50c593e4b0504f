"""What needs no key: the start page, and whether this process lives and can serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import falcon
from sqlalchemy import column, select, table

from api import isolation, wire
from api.caching import ShortCache
from api.metrics import CONTENT_TYPE
from api.resources import console
from snapshots.errors import SchemaMismatchError
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

    from falcon import Request, Response
    from sqlalchemy import Select

    from api.metrics import Metrics, SnapshotAges
    from api.reader import Reader
    from api.records import Records

#: Unauthenticated requests reach the database at most this often.
_READY_TTL_S: Final = 1.0
_REVISION: Final[Select[*tuple[Any, ...]]] = select(column("version_num")).select_from(
    table("alembic_version", schema=SCHEMA)
)

_PAGE: Final = """\
Activity signals

GET /api/v1/activity/summary/by-status
GET /api/v1/activity/runs/by-dimension?dim=provider_type|source|agent_id
GET /api/v1/activity/runs
GET /api/v1/activity/runs/RUN_ID
GET /api/v1/activity/patterns
GET /api/v1/activity/cost-analysis
GET /api/v1/activity/attention-queue
GET /api/v1/activity/freshness
GET /api/v1/activity/changes
GET, POST /api/v1/activity/triage
GET /api/v1/activity/explain/FINGERPRINT
GET /api/v1/activity/history?signal=patterns|cost|attention&key=FINGERPRINT
GET /livez
GET /readyz
GET /metrics
GET /openapi.json
GET /console/

Each endpoint under /api needs a key: Authorization: Bearer KEY
What the signals mean: docs/signals.md
"""


class Start:
    """GET /: the endpoints there are; a browser is sent to the console."""

    def __init__(self, *, with_console: bool) -> None:
        """Take whether this deployment serves the console."""
        self._with_console = with_console

    def on_get(self, req: Request, resp: Response) -> None:
        """Send the page."""
        resp.set_header("Vary", "Accept")
        if self._with_console and falcon.MEDIA_HTML.partition(";")[0] in req.accept:
            console.redirect(resp, falcon.HTTP_302)
            return
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = _PAGE

    on_head = on_get


class Livez:
    """GET /livez: this process answers."""

    def on_get(self, req: Request, resp: Response) -> None:
        """Say so."""
        resp.data = wire.dump({"status": "alive"})
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get


class Readyz:
    """GET /readyz: the database answers the reader role, which sees one tenant, at the revision that we need."""

    def __init__(self, reader: Reader, schema_revision: str, timer: Callable[[], float]) -> None:
        """Take the revision that the database must be at; the age of snapshots plays no part (R27)."""
        self._reader = reader
        self._needed = schema_revision
        self._seen: ShortCache[str] = ShortCache(1, _READY_TTL_S, timer=timer)

    def on_get(self, req: Request, resp: Response) -> None:
        """Say so, or raise SchemaMismatchError or IsolationError."""
        found = self._seen.get(SCHEMA) or self._seen.keep(SCHEMA, self._revision())
        if found != self._needed:
            raise SchemaMismatchError(f"The database is at revision {found}; this version needs {self._needed}.")
        resp.data = wire.dump({"status": "ready", "schema_revision": found})
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get

    def _revision(self) -> str:
        isolation.check(self._reader)
        return ", ".join(sorted(row.version_num for row in self._reader.rows(_REVISION))) or "none"


class Contract:
    """GET /openapi.json: what this API takes and answers."""

    def __init__(self, document: bytes) -> None:
        """Take the document."""
        self._document = document

    def on_get(self, req: Request, resp: Response) -> None:
        """Send it."""
        resp.data = self._document
        resp.set_header("Cache-Control", "public, max-age=300")

    on_head = on_get


class Numbers:
    """GET /metrics: the numbers of this installation's API, for Prometheus."""

    def __init__(self, metrics: Metrics, ages: SnapshotAges, records: Records) -> None:
        """Take the numbers kept, those that are read when asked, and those that are not worked off yet."""
        self._metrics = metrics
        self._records = records
        self._ages = ages

    def on_get(self, req: Request, resp: Response) -> None:
        """Send them."""
        self._records.flush()
        resp.content_type = CONTENT_TYPE
        resp.data = self._metrics.exposition(self._ages)
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get
