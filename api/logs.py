"""The log of an API process: a line of JSON per event on standard error, time in UTC."""

from __future__ import annotations

import logging
import time

from pythonjsonlogger.json import JsonFormatter


def configure(level: str) -> None:
    """Send every logger's events from `level` on to standard error."""
    formatter = JsonFormatter(
        "%(asctime)s %(levelname)s %(name)s %(message)s",
        "%Y-%m-%dT%H:%M:%SZ",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
