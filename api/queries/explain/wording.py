"""Numbers in sentences.

Source: docs/specification-notes.md#numbers-and-rounding.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

_DECIMALS: Final = Decimal(1).scaleb(-8)
#: Room for any cost that the rules take (up to 1e150), and for sums of them: decimal's own 28 digits would raise.
_ROOM: Final = Context(prec=200, rounding=ROUND_HALF_EVEN)


def rounded_money(value: Decimal) -> Decimal:
    """Return a finite `value` with 8 decimals, however large it is."""
    return value.quantize(_DECIMALS, context=_ROOM)


def plain(value: Decimal | float | None) -> str:
    """Return a number as people read it: no exponent, no padding, 8 decimals at most."""
    if value is None:
        return "none"
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        return str(exact)
    rounded = exact if exact == exact.to_integral_value() else rounded_money(exact)
    words = f"{rounded:f}"
    return words.rstrip("0").rstrip(".") if "." in words else words
