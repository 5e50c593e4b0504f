"""Types of command-line arguments."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import click

#: Windows reach some days before an instant, and no agent ran so early.
_EARLIEST_YEAR: Final = 1970


class Instant(click.ParamType[datetime]):
    """An RFC 3339 timestamp; one without a zone is refused, since nobody could say which instant it names."""

    name = "timestamp"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the aware datetime that `value` names."""
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no timestamp; expected one like 2026-01-17T12:00:00Z", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value!r} has no zone; expected one like 2026-01-17T12:00:00Z", param, ctx)
        if instant.year < _EARLIEST_YEAR:
            self.fail(f"{value!r} is too long ago; expected an instant since {_EARLIEST_YEAR}", param, ctx)
        return instant


class Tenant(click.ParamType[str]):
    """The name of a tenant: an empty one would be that of the rows that belong to nobody."""

    name = "tenant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name as it is."""
        named = str(value)
        if not named.strip() or "\0" in named:
            self.fail(f"{named!r} names no tenant; expected the name of one", param, ctx)
        return named


INSTANT = Instant()
TENANT = Tenant()
