"""Values as JSON: timestamps with six fraction digits and `Z`, numbers without padding, never NaN.

Source: docs/specification-notes.md#numbers-and-rounding, docs/specification-notes.md#utc.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import ColumnElement, Text, func

from snapshots.body import instant

_INSTANT_FORMAT: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'


def instant_text(column: ColumnElement[datetime]) -> ColumnElement[str | None]:
    """Return `column` as text, formatted by the database: the driver cannot hold every timestamp that it can.

    Naive columns hold UTC; an infinite timestamp reads NULL.
    """
    return func.to_char(column, _INSTANT_FORMAT, type_=Text)


def number(value: float | Decimal | None) -> float | int | None:
    """Return `value` without a padded fraction; None when it is not finite, for which JSON has no word."""
    if value is None or not math.isfinite(value):
        return None
    whole = int(value)
    return whole if whole == value else float(value)


def dump(body: dict[str, object]) -> bytes:
    """Return `body` as JSON."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_convert).encode()


def _convert(value: object) -> object:
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Decimal):
        return number(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
