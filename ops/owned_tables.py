"""Every table that we own, whichever module describes it: what migrations compare with, and what uninstall drops."""

from __future__ import annotations

from typing import Final

from snapshots import ingested, items, movement, tables, triage, webhooks
from worker.engine import tables as engine_tables

#: A module that describes tables of ours is listed here; its tables are registered when it is imported.
DESCRIBED_IN: Final = (tables, items, engine_tables, movement, triage, webhooks, ingested)

metadata: Final = tables.metadata
