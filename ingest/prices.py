"""Prices of model calls: the operator's file, then the price list of the package genai-prices.

docs/opentelemetry.md "Prices" describes both.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genai_prices.data_snapshot import DataSnapshot

    from ingest.spans import Span
    from snapshots.settings import Settings

_MILLION: Final = 1_000_000
_MOST_BYTES: Final = 4 * 1024 * 1024
_NEEDED: Final = ("model", "input_usd_per_million", "output_usd_per_million")
_OPTIONAL: Final = ("provider", "cached_input_usd_per_million", "valid_from", "valid_until")
_WILDCARD: Final = "*"
#: Providers that OpenTelemetry names otherwise than genai-prices.
_PROVIDERS: Final = {
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "x_ai": "x-ai",
}
#: Models looked up in genai-prices after which its caches, which grow with each name, are dropped.
_MOST_LOOKUPS: Final = 100_000


class PriceFileError(ActivityError):
    """A price file cannot be used; the message names the entry and what was expected."""


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a million tokens of a model in US dollars, from `valid_from` up to and without `valid_until`.

    A model that ends in `*` stands for every name that begins so.
    """

    model: str
    input_usd_per_million: Decimal
    output_usd_per_million: Decimal
    provider: str | None = None
    cached_input_usd_per_million: Decimal | None = None
    valid_from: date | None = None
    valid_until: date | None = None

    @property
    def starts(self) -> date:
        """Return the first day on which it holds."""
        return self.valid_from or date.min

    @property
    def ends(self) -> date:
        """Return the first day on which it no longer holds."""
        return self.valid_until or date.max

    def covers(self, span: Span, day: date) -> bool:
        """Tell whether it is the price of the span's model on that day."""
        model = span.model or ""
        is_named = model.startswith(self.model[:-1]) if self.model.endswith(_WILDCARD) else model == self.model
        return is_named and (self.provider is None or self.provider == span.provider) and self.starts <= day < self.ends

    def cost(self, span: Span) -> Decimal:
        """Return the cost of the span's tokens; without a price of their own, cached tokens cost what others do."""
        sent, cached = span.input_tokens or 0, 0
        if self.cached_input_usd_per_million is not None:
            cached = min(span.cached_tokens or 0, sent)
        parts = (
            (sent - cached) * self.input_usd_per_million
            + cached * (self.cached_input_usd_per_million or Decimal(0))
            + (span.output_tokens or 0) * self.output_usd_per_million
        )
        return parts / _MILLION

    @property
    def rank(self) -> tuple[bool, int, bool]:
        """Return how closely it names what it is for: an exact model, then the longest beginning, then a provider."""
        return not self.model.endswith(_WILDCARD), len(self.model), self.provider is not None


@dataclass(slots=True)
class PublicPrices:
    """Price list of the package genai-prices: bundled data, nothing is fetched.

    It is loaded at the first look-up, which takes about a second and up to 90 MB.
    """

    _list: DataSnapshot | None = None
    _lookups: int = 0

    def cost(self, span: Span) -> Decimal | None:
        """Return the cost of a model call in US dollars, None where the list lacks its model or its provider."""
        from genai_prices import Usage  # noqa: PLC0415  # loaded where a price is needed
        from genai_prices.data import providers  # noqa: PLC0415  # loaded where a price is needed
        from genai_prices.data_snapshot import DataSnapshot  # noqa: PLC0415  # loaded where a price is needed

        if self._list is None or self._lookups == _MOST_LOOKUPS:
            self._list, self._lookups = DataSnapshot(providers, from_auto_update=False), 0
        self._lookups += 1
        sent = span.input_tokens or 0
        usage = Usage(
            input_tokens=sent,
            cache_read_tokens=min(span.cached_tokens or 0, sent),
            output_tokens=span.output_tokens or 0,
        )
        provider = _PROVIDERS.get(span.provider or "", span.provider)
        try:
            return self._list.calc(usage, span.model or "", provider, None, _started_at(span)).total_price
        except (LookupError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of a file, each before those of `public`; without both, no price is known."""

    entries: Sequence[Price] = ()
    public: PublicPrices | None = field(default=None, compare=False)

    def cost(self, span: Span) -> Decimal | None:
        """Return the cost of a model call in US dollars, None where it is not known.

        A cost that the span states counts before a price. A call without token counts, or without a price, has none.
        """
        if span.cost_usd is not None:
            return Decimal(repr(span.cost_usd))
        if span.input_tokens is None and span.output_tokens is None:
            return None
        day = _started_at(span).date()
        fitting = [price for price in self.entries if price.covers(span, day)]
        if fitting:
            return max(fitting, key=lambda price: price.rank).cost(span)
        return self.public.cost(span) if self.public is not None else None


def prices_of(settings: Settings, path: Path | None = None) -> Prices:
    """Return the prices that the settings name; `path` is read in place of their file.

    Raises PriceFileError naming the entry and what was expected.
    """
    if path is None and settings.prices_file is not None:
        path = Path(settings.prices_file)
    entries = [] if path is None else read_prices(path)
    return Prices(entries, PublicPrices() if settings.prices == "genai-prices" else None)


def read_prices(path: Path) -> Sequence[Price]:
    """Return the prices in the file `path`, TOML or JSON by its name.

    Raises PriceFileError naming the entry and what was expected.
    """
    try:
        content = path.read_bytes()[: _MOST_BYTES + 1]
    except OSError as ex:
        raise PriceFileError(f"{path}: cannot be read: {ex.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise PriceFileError(f"{path}: larger than {_MOST_BYTES} bytes")
    try:
        if path.suffix == ".json":
            document = json.loads(content.decode(), parse_float=Decimal)
        else:
            document = tomllib.loads(content.decode(), parse_float=Decimal)
    except (ValueError, RecursionError) as ex:
        raise PriceFileError(f"{path}: {ex}") from None
    entries = document.get("price") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise PriceFileError(f"{path}: expected a list named price")
    prices = [_entry(f"{path}: price {number}", entry) for number, entry in enumerate(entries, start=1)]
    seen: dict[tuple[str, str | None], list[Price]] = {}
    for one in prices:
        others = seen.setdefault((one.model, one.provider), [])
        # Of two prices for one model on one day, either could count.
        if any(one.starts < other.ends and other.starts < one.ends for other in others):
            raise PriceFileError(f"{path}: {one.model}: two prices for one day; expected valid_from and valid_until")
        others.append(one)
    return prices


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
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            number = Decimal(value)
            if number.is_finite() and 0 <= number <= _MILLION:
                return number
        raise PriceFileError(f"{place}: expected US dollars per million tokens, 0 or more")
    if name.startswith("valid_"):
        try:
            day = date.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            day = None
        if isinstance(day, date) and not isinstance(day, datetime):
            return day
        raise PriceFileError(f"{place}: expected a date like 2026-01-17")
    if not isinstance(value, str) or not value.strip() or _WILDCARD in value[:-1]:
        raise PriceFileError(f"{place}: expected text, with * at its end alone")
    return value


def _started_at(span: Span) -> datetime:
    return datetime.fromtimestamp(span.started_ns // 1_000_000_000, UTC)


def as_rows(prices: Sequence[Price]) -> Sequence[Mapping[str, str]]:
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
        for price in prices
    ]
