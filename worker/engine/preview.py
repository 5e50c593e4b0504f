"""One tenant's body, computed now and published nowhere: the same SQL, the same join as the API's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from snapshots import visibility
from snapshots.body import join
from snapshots.signals import WORKER_ROLE, check_signal
from worker.engine.limits import set_limits
from worker.engine.stage import stage_content, stage_signal
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from snapshots.settings import Settings

#: The `snapshot` member of a body that no snapshot stands behind.
_UNPUBLISHED: Final = b"null"


def compute(conn: Connection, signal: str, tenant: str, settings: Settings, as_of: datetime) -> bytes:
    """Return the body of `signal` for `tenant` as of `as_of`, as the API sends it, with `snapshot: null`.

    Its statements have the limits of a refresh. Raises UnknownSignalError, and VisibilityError where
    rows could be hidden. Nothing is left once the transaction ends.
    """
    rule = SIGNALS[check_signal(signal)]
    set_limits(conn, settings)
    visibility.prove(conn, WORKER_ROLE)
    stage_signal(conn, rule, settings, as_of, [tenant])
    found = conn.execute(select(stage_content.c.tenant_id, stage_content.c.content)).all()
    contents: dict[str, str] = {row.tenant_id: row.content for row in found}
    return join(rule.window_json(settings, as_of), contents.get(tenant, contents[""]), _UNPUBLISHED)
