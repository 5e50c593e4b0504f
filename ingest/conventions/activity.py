"""Attributes of our own, for what no public vocabulary names."""

from __future__ import annotations

from typing import Final

from ingest.conventions.names import Names

NAMES: Final = Names(retries=("activity.retry_count",), project=("activity.project_id",))
