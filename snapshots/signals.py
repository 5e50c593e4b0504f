"""The names that every part agrees on: signals, capabilities, roles.

Source: docs/specification-notes.md#credentials-and-capabilities.
"""

from __future__ import annotations

from typing import Final

from snapshots.errors import UnknownSignalError
from snapshots.signal_catalogue import CATALOGUE

#: In the order that answers list them in.
SIGNALS: Final = tuple(CATALOGUE)

#: The capability that each endpoint asks for.
CAPABILITIES: Final = (
    "activity.summary_by_status",
    "activity.runs_by_dimension",
    "activity.threshold_signals",
    *(definition.capability for definition in CATALOGUE.values()),
    "activity.changes",
    "activity.explain",
    "activity.triage",
)
#: What a key is given that asks for none in particular: everything that only reads.
READING: Final = tuple(name for name in CAPABILITIES if name != "activity.triage")

#: What a key may do that brings traces in; it opens no endpoint, and no other capability brings any in.
INGEST_CAPABILITY: Final = "activity.ingest"

#: The head of the migrations that this version reads and writes; a test holds it against the chain itself.
SCHEMA_REVISION: Final = "112_signals"
#: What stands in the version table while the schema is detached from the host's tables.
DETACHED: Final = "detached"

#: Tenants hash into this many slots, and shard k of N holds the slots that leave k when divided by N.
SLOTS: Final = 64

#: The first half of our advisory lock keys ("acti" in ASCII), so that a host's own advisory locks do not meet ours.
LOCK_CLASS: Final = 0x61637469

#: Group roles of the cluster; login roles are granted one of them.
WORKER_ROLE: Final = "activity_worker"
AUTHENTICATOR_ROLE: Final = "activity_authenticator"
READER_ROLE: Final = "activity_reader"
TRIAGE_ROLE: Final = "activity_triage"
INGEST_ROLE: Final = "activity_ingest"


def check_signal(name: str) -> str:
    """Return `name` when it is a signal.

    Raises UnknownSignalError naming the signals there are.
    """
    if name not in SIGNALS:
        raise UnknownSignalError(f"signal: {name!r} does not exist; expected one of {', '.join(SIGNALS)}")
    return name
