"""Movement: what entered, left, rose and fell with a publication, recorded in its transaction.

The snapshot stays a function of the source and the instant; what it is compared with is what was known before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snapshots.triage import SYSTEM
from worker.engine import queries, stage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from snapshots.settings import Settings
    from worker.engine.publication import Publication


def record(conn: Connection, publication: Publication, settings: Settings) -> int:
    """Record what moved among the items of the tenants that `publication` has just published; return how many changes.

    Needs the stage as publication left it. The number of statements does not depend on the number of tenants.
    """
    signal = publication.signal
    bound = signal.parameters(settings, publication.as_of)
    stage.fill(conn, queries.load(signal.movement.identities), stage.stage_identity, bound)
    parameters = {
        "signal": signal.name,
        "as_of": publication.as_of,
        "step": signal.movement.step,
        "worse_by": signal.movement.worse_by,
        "actor": SYSTEM,
    }
    return int(conn.execute(queries.load("engine/record_movement").text, parameters).scalar_one())
