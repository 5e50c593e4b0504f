"""The log of an API process: a line of JSON per event on standard error, time in UTC."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from pythonjsonlogger.json import JsonFormatter

_RENAMED: Final = {"asctime": "time", "levelname": "level", "name": "logger"}
_FIELDS: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
#: The same, for a server that configures its own loggers from a dictionary.
FORMATTER: Final[dict[str, Any]] = {"()": "api.logs.formatter"}


def formatter() -> logging.Formatter:
    """Return the formatter of every logger of an API process."""
    made = JsonFormatter(_FIELDS, _TIME, rename_fields=_RENAMED)
    made.converter = time.gmtime
    return made


def configure(level: str) -> None:
    """Send every logger's events from `level` on to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
