"""What models cost: a file of the operator's, so that every cost can be traced to a line that somebody wrote.

Source: docs/opentelemetry.md "Prices" describes the file.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.assembly.spans import Span

_MILLION: Final = 1_000_000
_MOST_BYTES: Final = 4 * 1024 * 1024
_NEEDED: Final = ("model", "input_usd_per_million", "output_usd_per_million")
_OPTIONAL: Final = ("provider", "cached_input_usd_per_million", "valid_from", "valid_until")
_WILDCARD: Final = "*"


class PriceFileError(ActivityError):
    """A price file cannot be used; the message names the entry and what was expected."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of a model cost in US dollars, from `valid_from` up to and without `valid_until`.

    A model that ends in `*` stands for every name that begins so.
    """

    model: str
    input_usd_per_million: Decimal
    output_usd_per_million: Decimal
    provider: str | None = None
    cached_input_usd_per_million: Decimal | None = None
    valid_from: date | None = None
    valid_until: date | None = None

    def covers(self, span: Span, day: date) -> bool:
        """Tell whether it is the price of the span's model on that day."""
        return (
            _names(self.model, span.model or "")
            and (self.provider is None or self.provider == span.provider)
            and (self.valid_from is None or self.valid_from <= day)
            and (self.valid_until is None or day < self.valid_until)
        )

    @property
    def rank(self) -> tuple[bool, int, bool]:
        """Return how closely it names what it is for: an exact model, then the longest beginning, then a provider."""
        return not self.model.endswith(_WILDCARD), len(self.model), self.provider is not None


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of a file; none of them without one."""

    entries: Sequence[Price] = ()

    def cost(self, span: Span) -> Decimal | None:
        """Return what the span's use of its model cost, in US dollars; None where that is not known.

        What the span says itself counts before a price; a call without its tokens, or without a price, has no cost.
        """
        if span.cost_usd is not None:
            return Decimal(repr(span.cost_usd))
        if span.input_tokens is None and span.output_tokens is None:
            return None
        price = self._price(span)
        return None if price is None else _cost(price, span)

    def _price(self, span: Span) -> Price | None:
        day = datetime.fromtimestamp(span.started_ns // 1_000_000_000, UTC).date()
        fitting = [price for price in self.entries if price.covers(span, day)]
        return max(fitting, key=lambda price: price.rank) if fitting else None


def price_file(setting: str | None) -> Path | None:
    """Return the file that a setting names, if any."""
    return None if setting is None else Path(setting)


def read_prices(path: Path | None) -> Prices:
    """Return the prices in the file `path`, TOML or JSON by its name; none without a file.

    Raises PriceFileError naming the entry and what was expected.
    """
    if path is None:
        return Prices()
    try:
        content = path.read_bytes()[: _MOST_BYTES + 1]
    except OSError as ex:
        raise PriceFileError(f"{path}: cannot be read: {ex.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise PriceFileError(f"{path}: larger than {_MOST_BYTES} bytes")
    document = _parse(path, content)
    entries = document.get("price") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise PriceFileError(f"{path}: expected a list named price")
    prices = [_entry(f"{path}: price {number}", entry) for number, entry in enumerate(entries, start=1)]
    _refuse_doubles(path, prices)
    return Prices(prices)


def _parse(path: Path, content: bytes) -> Any:  # noqa: ANN401  # a document is any value
    try:
        if path.suffix == ".json":
            return json.loads(content.decode(), parse_float=Decimal)
        return tomllib.loads(content.decode(), parse_float=Decimal)
    except (ValueError, RecursionError) as ex:
        raise PriceFileError(f"{path}: {ex}") from None


def _entry(place: str, entry: object) -> Price:
    if not isinstance(entry, dict):
        raise PriceFileError(f"{place}: expected a table")
    unknown = [name for name in entry if name not in {*_NEEDED, *_OPTIONAL}]
    if unknown:
        raise PriceFileError(f"{place}: {unknown[0]}: unknown; expected {', '.join((*_NEEDED, *_OPTIONAL))}")
    missing = [name for name in _NEEDED if name not in entry]
    if missing:
        raise PriceFileError(f"{place}: {missing[0]}: missing")
    return Price(**{name: _read(f"{place}: {name}", name, value) for name, value in entry.items()})


def _read(place: str, name: str, value: object) -> Any:  # noqa: ANN401  # the type follows the field
    if name.endswith("_per_million"):
        return _dollars(place, value)
    if name.startswith("valid_"):
        return _day(place, value)
    if not isinstance(value, str) or not value.strip() or _WILDCARD in value[:-1]:
        raise PriceFileError(f"{place}: expected text, with * at its end alone")
    return value


def _dollars(place: str, value: object) -> Decimal:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
        if number.is_finite() and 0 <= number <= _MILLION:
            return number
    raise PriceFileError(f"{place}: expected US dollars per million tokens, 0 or more")


def _day(place: str, value: object) -> date:
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        day = None
    if isinstance(day, date) and not isinstance(day, datetime):
        return day
    raise PriceFileError(f"{place}: expected a date like 2026-01-17")


def _refuse_doubles(path: Path, prices: Sequence[Price]) -> None:
    """Refuse two prices for one model on one day: which of them counted would be a matter of chance."""
    seen: dict[tuple[str, str | None], list[Price]] = {}
    for price in prices:
        others = seen.setdefault((price.model, price.provider), [])
        if any(_overlap(price, other) for other in others):
            raise PriceFileError(f"{path}: {price.model}: two prices for one day; expected valid_from and valid_until")
        others.append(price)


def _overlap(one: Price, other: Price) -> bool:
    return (one.valid_from or date.min) < (other.valid_until or date.max) and (other.valid_from or date.min) < (
        one.valid_until or date.max
    )


def _names(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith(_WILDCARD) else model == pattern


def _cost(price: Price, span: Span) -> Decimal:
    sent, cached = span.input_tokens or 0, 0
    if price.cached_input_usd_per_million is not None:
        cached = min(span.cached_tokens or 0, sent)
    parts = (
        (sent - cached) * price.input_usd_per_million
        + cached * (price.cached_input_usd_per_million or Decimal(0))
        + (span.output_tokens or 0) * price.output_usd_per_million
    )
    return parts / _MILLION


def as_rows(prices: Prices) -> Sequence[Mapping[str, str]]:
    """Return the prices for people, a row each."""
    return [
        {
            "model": price.model,
            "provider": price.provider or "any",
            "input": f"{price.input_usd_per_million:f}",
            "cached input": "as input"
            if price.cached_input_usd_per_million is None
            else f"{price.cached_input_usd_per_million:f}",
            "output": f"{price.output_usd_per_million:f}",
            "valid": f"{price.valid_from or 'always'} - {price.valid_until or ''}".strip(" -") or "always",
        }
        for price in prices.entries
    ]
