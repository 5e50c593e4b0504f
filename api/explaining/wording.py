"""Numbers in sentences."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

_DECIMALS = Decimal(1).scaleb(-8)


def plain(value: Decimal | float | None) -> str:
    """Return a number as people read it: no exponent, no padding, 8 decimals at most."""
    if value is None:
        return "none"
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        return str(exact)
    rounded = exact if exact == exact.to_integral_value() else exact.quantize(_DECIMALS, rounding=ROUND_HALF_EVEN)
    words = f"{rounded:f}"
    return words.rstrip("0").rstrip(".") if "." in words else words
