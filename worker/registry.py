"""The signals: which queries make each of them, and with which parameters (R13)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from snapshots.body import DEFAULT_LIMIT, instant
from worker import stage
from worker.weights import ATTENTION_WEIGHTS, WEIGHTS_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Table

    from snapshots.settings import Settings

#: Rows per pattern and tenant (R13); part of the contract, as the window lengths below are.
PATTERN_ROWS: Final = 10
#: The formula of R15.
CONFIDENCE_VERSION: Final = "1.0"
COST_CURRENT: Final = timedelta(days=1)
COST_BASELINE: Final = timedelta(days=7)
#: A completed run stays in the attention queue for this long.
ATTENTION_COMPLETED: Final = timedelta(hours=24)
#: Items that are stored per tenant, for limits other than the default (R23).
ATTENTION_ITEMS: Final = 100


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal: its queries in order, each with the stage table it fills, and where their parameters come from.

    `stated` is what the content says it was computed with; `bound` are the queries' own binds; `window` is the body's
    `window` member, None where the signal has none. `moves_with_clock` marks content that ages without a change of
    its rows (R26).
    """

    name: str
    rule_version: str
    steps: tuple[tuple[str, Table], ...]
    item_stage: Table
    stated: Callable[[Settings], Mapping[str, object]]
    bound: Callable[[Settings, datetime], Mapping[str, object]]
    window: Callable[[Settings, datetime], Mapping[str, str]] | None = None
    moves_with_clock: bool = False

    def parameters(
        self, settings: Settings, as_of: datetime, tenants: Sequence[str] | None = None
    ) -> dict[str, object]:
        """Return the binds of all queries of the signal; `tenants` None is all of them."""
        return {
            "as_of": as_of,
            "tenants": None if tenants is None else list(tenants),
            "exclude_synthetic": settings.exclude_synthetic,
            "stated_parameters": _json(self.stated(settings)),
            **self.bound(settings, as_of),
        }

    def window_json(self, settings: Settings, as_of: datetime) -> str | None:
        """Return the `window` member for `as_of` as JSON; None where the signal has none."""
        return None if self.window is None else _json(self.window(settings, as_of))


def _json(member: Mapping[str, object]) -> str:
    return json.dumps(member, ensure_ascii=False, separators=(",", ":"))


def _plain(number: float) -> float:
    """Return `number` without the fraction that it does not have: 5000, not 5000.0 (R4a)."""
    return int(number) if number.is_integer() else number


def _pattern_thresholds(settings: Settings) -> dict[str, object]:
    return {
        "slow_step_ms": _plain(settings.slow_step_ms),
        "retry_min_total": settings.retry_min_total,
        "oscillation_min_pairs": settings.oscillation_min_pairs,
        "loop_min_uses": settings.loop_min_uses,
        "loop_window_steps": settings.loop_window_steps,
        "cascade_min_steps": settings.cascade_min_steps,
    }


def _patterns_stated(settings: Settings) -> dict[str, object]:
    hours = {"window_hours": settings.pattern_window_hours}
    return {**hours, **_pattern_thresholds(settings), "exclude_synthetic": settings.exclude_synthetic}


def _pattern_start(settings: Settings, as_of: datetime) -> datetime:
    return as_of - timedelta(hours=settings.pattern_window_hours)


def _patterns_bound(settings: Settings, as_of: datetime) -> dict[str, object]:
    return {
        **_pattern_thresholds(settings),
        "window_start": _pattern_start(settings, as_of),
        "pattern_rows": PATTERN_ROWS,
        "confidence_version": CONFIDENCE_VERSION,
    }


def _patterns_window(settings: Settings, as_of: datetime) -> dict[str, str]:
    return {"start": instant(_pattern_start(settings, as_of)), "end": instant(as_of)}


def _cost_stated(settings: Settings) -> dict[str, object]:
    return {"z_threshold": _plain(settings.cost_z_threshold), "exclude_synthetic": settings.exclude_synthetic}


def _cost_bound(settings: Settings, as_of: datetime) -> dict[str, object]:
    return {
        "current_start": as_of - COST_CURRENT,
        "baseline_start": as_of - COST_BASELINE,
        "z_threshold": _plain(settings.cost_z_threshold),
    }


def _cost_window(_: Settings, as_of: datetime) -> dict[str, str]:
    """Return the spec's two literals and the exact bounds (R20); the baseline ends where the current day starts."""
    current_start = instant(as_of - COST_CURRENT)
    return {
        "current": "last_24h",
        "baseline": "7_day_average",
        "current_start": current_start,
        "current_end": instant(as_of),
        "baseline_start": instant(as_of - COST_BASELINE),
        "baseline_end": current_start,
    }


def _attention_stated(settings: Settings) -> dict[str, object]:
    return {
        "weights": ATTENTION_WEIGHTS,
        "abandoned_after_hours": settings.abandoned_after_hours,
        "hide_abandoned": settings.hide_abandoned,
        "exclude_synthetic": settings.exclude_synthetic,
    }


def _attention_bound(settings: Settings, as_of: datetime) -> dict[str, object]:
    return {
        **{f"{component}_weight": weight for component, weight in ATTENTION_WEIGHTS.items()},
        "weights_version": WEIGHTS_VERSION,
        "completed_since": as_of - ATTENTION_COMPLETED,
        "silent_since": as_of - timedelta(hours=settings.abandoned_after_hours),
        "hide_abandoned": settings.hide_abandoned,
        "item_limit": ATTENTION_ITEMS,
        "queue_limit": DEFAULT_LIMIT,
    }


_PATTERNS: Final = Signal(
    name="patterns",
    rule_version="1.0",
    steps=(
        ("pattern_facts", stage.stage_trace_fact),
        ("pattern_items", stage.stage_pattern_item),
        ("pattern_content", stage.stage_content),
    ),
    item_stage=stage.stage_pattern_item,
    stated=_patterns_stated,
    bound=_patterns_bound,
    window=_patterns_window,
)
_COST: Final = Signal(
    name="cost",
    rule_version="1.0",
    steps=(("cost_items", stage.stage_cost_item), ("cost_content", stage.stage_content)),
    item_stage=stage.stage_cost_item,
    stated=_cost_stated,
    bound=_cost_bound,
    window=_cost_window,
)
_ATTENTION: Final = Signal(
    name="attention",
    rule_version="1.0",
    steps=(
        ("attention_runs", stage.stage_attention_run),
        ("attention_items", stage.stage_attention_item),
        ("attention_content", stage.stage_content),
    ),
    item_stage=stage.stage_attention_item,
    stated=_attention_stated,
    bound=_attention_bound,
    moves_with_clock=True,
)

SIGNALS: Final[Mapping[str, Signal]] = MappingProxyType({each.name: each for each in (_PATTERNS, _COST, _ATTENTION)})
