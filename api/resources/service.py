"""Resources without a key: the start page, liveness, readiness, metrics and the OpenAPI document.

Source: docs/specification-notes.md#etag-and-age-headers.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import falcon
from sqlalchemy import column, select, table
from sqlalchemy.exc import SQLAlchemyError

from api.auth import isolation, visibility
from api.auth.limits import overloaded
from api.http import wire
from api.http.caching import ShortCache
from api.http.metrics import CONTENT_TYPE
from api.resources import console
from snapshots.errors import ActivityError, SchemaMismatchError
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

    from falcon import Request, Response
    from sqlalchemy import Select

    from api.http.metrics import Metrics, SnapshotAges
    from api.http.request_recorder import RequestRecorder
    from api.queries.reader import Reader

#: Unauthenticated requests reach the database at most this often, whatever it says.
_READY_TTL_S: Final = 1.0
#: A request waits so long at most for what the database says to another one, seconds.
_PATIENCE_S: Final = 0.5
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
GET /api/v1/activity/signals
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
    """GET /readyz: the schema is whole, at the revision that we need, and shows the reader role one tenant."""

    def __init__(self, reader: Reader, schema_revision: str, timer: Callable[[], float]) -> None:
        """Take the revision that the database must be at; the age of snapshots plays no part."""
        self._reader = reader
        self._needed = schema_revision
        self._seen: ShortCache[str | Exception] = ShortCache(1, _READY_TTL_S, timer=timer)
        self._asking = Lock()

    def on_get(self, req: Request, resp: Response) -> None:
        """Say so, or raise SchemaMismatchError, IsolationError, VisibilityError, or what a read raises."""
        found = self._seen.get(SCHEMA) or self._ask()
        if isinstance(found, Exception):
            # Raised anew each time: its traceback would grow by every request.
            raise found.with_traceback(None)
        if found != self._needed:
            raise SchemaMismatchError(f"The database is at revision {found}; this version needs {self._needed}.")
        resp.data = wire.dump({"status": "ready", "schema_revision": found})
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get

    def _ask(self) -> str | Exception:
        """Return what the database says, or what it raises: one request at a time asks, and takes one connection.

        Raises ProblemError (503) when another one has asked for longer than a moment.
        """
        if not self._asking.acquire(timeout=_PATIENCE_S):
            raise overloaded()
        try:
            return self._seen.get(SCHEMA) or self._seen.keep(SCHEMA, self._revision())
        finally:
            self._asking.release()

    def _revision(self) -> str | Exception:
        try:
            isolation.check(self._reader)
            found = ", ".join(sorted(row.version_num for row in self._reader.rows(_REVISION))) or "none"
            if found == self._needed:
                visibility.check(self._reader)
            return found  # noqa: TRY300  # what is in the way is returned as well
        except (ActivityError, SQLAlchemyError) as ex:
            return ex


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

    def __init__(self, metrics: Metrics, ages: SnapshotAges, records: RequestRecorder) -> None:
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
