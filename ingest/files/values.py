"""Values of fields, checked by the real type of their column and written as PostgreSQL reads them.

A check takes the text of a field and returns the text to store; it raises ValueError naming what was expected. Types
without a check here are left to the server, which names the line as well (`ingest.files.merging`).
"""

from __future__ import annotations

import json
import math
import re
import sys
import uuid
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ingest.files.report import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Check = Callable[[str], str]

#: End of an instant that names no zone; the others end with an offset in digits.
ASSUMED_UTC: Final = "Z"
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,5})?|nan|[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE
)
_INTEGER_BITS: Final = {"int2": 16, "int4": 32, "int8": 64}
_BOOLEANS: Final = {"true": "true", "t": "true", "false": "false", "f": "false"}
_TEXTS: Final = frozenset({"text", "varchar", "bpchar", "name", "citext"})
_DOCUMENTS: Final = frozenset({"json", "jsonb"})
_NUMBERS: Final = frozenset({"int2", "int4", "int8", "float4", "float8", "numeric"})
_INSTANTS: Final = frozenset({"timestamp", "timestamptz"})


def check_of(kind: str, limit: int | None) -> Check:
    """Return the check of a column of type `kind` (PostgreSQL's short name), `limit` characters long at most."""
    if kind in _INTEGER_BITS:
        return _integer(_INTEGER_BITS[kind])
    if kind in _TEXTS:
        return _text(limit)
    return _CHECKS.get(kind, _text(None))


def text_of(kind: str, value: object) -> str:
    """Return a JSON or Python value, not None, as the text of a field of type `kind`.

    Raises ValueError naming what was expected.
    """
    if kind in _DOCUMENTS:
        return json.dumps(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        if kind == "bool":
            return "true" if value else "false"
    elif kind in _NUMBERS and (isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))):
        return repr(value)
    elif isinstance(value, datetime) and kind in _INSTANTS:
        return value.isoformat()
    raise ValueError(_EXPECTED.get(kind, "text"))


def parse_document(text: str) -> Any:  # noqa: ANN401  # a JSON document is any value
    """Return the value of a JSON text.

    Raises ValueError for what is no JSON: NaN and Infinity are none, and a name may come once in an object.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)[1:-1]}: named twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _integer(bits: int) -> Check:
    lowest, beyond = -(1 << bits - 1), 1 << bits - 1

    def check(text: str) -> str:
        if not _INTEGER.fullmatch(text):
            raise ValueError("integer")
        number = int(text)
        if not lowest <= number < beyond:
            raise ValueError(f"integer of {bits} bits")
        return str(number)

    return check


def _text(limit: int | None) -> Check:
    def check(text: str) -> str:
        if "\0" in text:
            raise ValueError("text without NUL characters")
        if limit is not None and len(text) > limit:
            raise ValueError(f"at most {limit} characters")
        return text

    return check


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise ValueError("number")
    return text


def _float(largest: float, smallest: float) -> Check:
    """Return the check of a binary number: what is nearer to 0 than it can say is 0."""

    def check(text: str) -> str:
        number = float(_number(text))
        is_infinity = "inf" in text.lower()
        if abs(number) > largest and not is_infinity:
            raise ValueError(f"number from -{largest:g} to {largest:g}")
        return "0" if abs(number) < smallest else text

    return check


def _boolean(text: str) -> str:
    known = _BOOLEANS.get(text.lower())
    if known is None:
        raise ValueError("true or false")
    return known


def _instant(text: str) -> str:
    """Return an instant with its offset; one without is taken as UTC, and ends with `ASSUMED_UTC`."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.isoformat() + ASSUMED_UTC
        return moment.isoformat()
    except (ValueError, OverflowError):
        raise ValueError("timestamp like 2026-01-17T12:00:00Z") from None


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("date like 2026-01-17") from None


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("uuid") from None


def _document(text: str) -> str:
    try:
        parse_document(text)
    except ValueError:
        raise ValueError("JSON document") from None
    return _text(None)(text)


_CHECKS: Final[Mapping[str, Check]] = {
    "bool": _boolean,
    "date": _date,
    "float4": _float(3.4028234e38, 1.1754944e-38),
    "float8": _float(sys.float_info.max, sys.float_info.min),
    "json": _document,
    "jsonb": _document,
    "numeric": _number,
    "timestamp": _instant,
    "timestamptz": _instant,
    "uuid": _uuid,
}
_EXPECTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(_INTEGER_BITS, "integer"),
    **dict.fromkeys(("float4", "float8", "numeric"), "number"),
    **dict.fromkeys(_INSTANTS, "timestamp like 2026-01-17T12:00:00Z"),
    "bool": "true or false",
    "date": "date like 2026-01-17",
    "uuid": "uuid",
}
