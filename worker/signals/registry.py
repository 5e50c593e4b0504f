"""Registry of the signals: one folder each, in the order that answers list them in."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from snapshots.signal_catalogue import CATALOGUE
from worker.signals.plain import plain_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.signals.spec import SignalSpec

SIGNALS: Final[Mapping[str, SignalSpec]] = MappingProxyType(
    {
        name: plain_spec(definition) if definition.is_plain else import_module(f"worker.signals.{name}.signal").SPEC
        for name, definition in CATALOGUE.items()
    }
)
