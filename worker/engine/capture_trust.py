"""Trust in change capture: whether refreshes may rely on it, and in words why not.

Two things end it: the catalogue shows that some change goes unreported (`capture_fingerprint.sql`), or a sample found
one that did (`worker.engine.probe`), a doubt that lasts until comparisons have confirmed the triggers again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert

from snapshots.body import instant
from worker.engine import queries
from worker.engine.tables import capture_doubt
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from snapshots.settings import Settings
    from worker.engine.context import RefreshResult
    from worker.signals.spec import SignalSpec

#: A doubt ends after so many slower periods in which every comparison agreed.
QUIET_PERIODS: Final = 3
_HAS_DOUBTS: Final = text("select to_regclass('signals.capture_doubt')")


@dataclass(frozen=True, slots=True)
class CaptureTrust:
    """Reliability of change capture for one signal.

    `fingerprint` identifies the triggers, None where the catalogue shows a gap; `losses` says each reason in words;
    `is_installed` tells whether capture was ever asked for; `is_doubted` whether an unreported change was found.
    """

    fingerprint: str | None
    losses: Sequence[str]
    is_installed: bool
    is_doubted: bool = False

    @property
    def is_captured(self) -> bool:
        """Tell whether refreshes rely on the change events."""
        return self.fingerprint is not None and not self.is_doubted

    @property
    def is_lost(self) -> bool:
        """Tell whether capture was asked for and is not relied on."""
        return self.is_installed and not self.is_captured


def read(conn: Connection, signal: SignalSpec) -> CaptureTrust:
    """Return what catalogue and samples say of the signal's capture; works on a schema without doubts, too."""
    row = conn.execute(queries.load("engine/capture_fingerprint").text, {"views": list(signal.sources)}).one()
    trust = CaptureTrust(row.fingerprint, row.losses, row.is_installed)
    if row.fingerprint is None or conn.execute(_HAS_DOUBTS).scalar_one() is None:
        return trust
    found = conn.execute(
        select(capture_doubt).where(capture_doubt.c.signal == signal.name, capture_doubt.c.capture == row.fingerprint)
    ).one_or_none()
    if found is None:
        return trust
    words = (
        f"a sample at {instant(found.found_at)} found {found.unreported} changes that no trigger reported"
        f" (last found {instant(found.last_found_at)}); something writes past the triggers"
    )
    return replace(trust, losses=[words], is_doubted=True)


def is_doubted(conn: Connection, signal: SignalSpec) -> bool:
    """Tell whether an unreported change was found under the present triggers; one short query where none was."""
    doubted = select(capture_doubt.c.signal).where(capture_doubt.c.signal == signal.name)
    return conn.execute(doubted).first() is not None and read(conn, signal).is_doubted


def doubt(conn: Connection, signal: SignalSpec, unreported: int) -> None:
    """Have each signal that reads a table of `signal` compare all rows from now on."""
    for each in SIGNALS.values():
        capture = read(conn, each).fingerprint if set(each.sources) & set(signal.sources) else None
        if capture is None:
            continue
        now = func.clock_timestamp()
        values = {
            "signal": literal(each.name),
            "capture": literal(capture),
            "unreported": literal(unreported),
            "found_at": now,
            "last_found_at": now,
        }
        statement = insert(capture_doubt).values(values)
        moved = {name: statement.excluded[name] for name in values if name != "signal"}
        conn.execute(statement.on_conflict_do_update(index_elements=["signal"], set_=moved))


def settle(conn: Connection, signal: SignalSpec, settings: Settings, compared: RefreshResult) -> None:
    """Renew a doubt by a comparison that had something to repair; end it by one that had not, once it is old enough.

    Only a comparison that saw change events says that the triggers report.
    """
    mine = capture_doubt.c.signal == signal.name
    if compared.drift:
        conn.execute(update(capture_doubt).where(mine).values(last_found_at=func.clock_timestamp()))
    elif compared.marks:
        quiet_s = QUIET_PERIODS * settings.period_s(signal.name, is_captured=False)
        age = func.extract("epoch", func.clock_timestamp() - capture_doubt.c.last_found_at)
        conn.execute(delete(capture_doubt).where(mine, age >= quiet_s))
