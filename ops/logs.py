"""Logging of a process: one line per event on stderr, time in UTC."""

from __future__ import annotations

import logging
import time


def configure(level: str) -> None:
    """Send every logger's events from `level` on to stderr."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
