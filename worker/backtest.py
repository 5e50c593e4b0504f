"""A rule replayed: what it would have flagged at each instant of a stretch of time, with other thresholds than today's.

The source is read as it stands now, not as it stood then: rows that came late or changed since are judged as they are.
What was published then is read from the kept versions, beside it. Nothing is written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import literal, select, text, true, union_all

from snapshots.errors import SettingsError
from snapshots.settings import load
from snapshots.signal_catalogue import CATALOGUE
from snapshots.tables import snapshot, snapshot_history
from snapshots.triage import triage_event
from worker.engine.compute import stage_signal
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Connection

    from snapshots.settings import Settings

#: An item as people and answers name it: pattern and skill, agent, or run.
Item = tuple[str | None, ...]

#: Each instant computes the signal twice; more of them than this is a job for several calls.
MAX_INSTANTS: Final = 400
_HAS_RUNS: Final = text("""
select
    exists (select from signals.source_run where tenant_id = :tenant)
    or exists (select from signals.source_trace where tenant_id = :tenant)
""")
#: What people said of an item, and what it says of the rule: acted upon, or expected and so not worth a flag.
_ACTED, _EXPECTED = "acknowledge", "expect"


@dataclass(frozen=True, slots=True)
class Rule:
    """Whose rule is replayed; `is_robust` looks at the robust verdict on cost."""

    signal: str
    tenant: str
    is_robust: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """Items flagged at one instant: by the thresholds in force, by the requested ones, and in the published version.

    `stored` is None where no version of that time is kept.
    """

    at: datetime
    current: frozenset[Item]
    candidate: frozenset[Item]
    stored: frozenset[Item] | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Counts of the items that a rule flagged: acknowledged ones, and those that are expected."""

    flagged: int
    acted: int
    expected: int

    @property
    def precision(self) -> float | None:
        """Return the share that was acted upon of those that people judged; None while nobody did."""
        judged = self.acted + self.expected
        return self.acted / judged if judged else None


def with_thresholds(settings: Settings, signal: str, values: Mapping[str, str]) -> Settings:
    """Return the settings with thresholds replaced by their stated names.

    Raises SettingsError naming the threshold, and what was expected.
    """
    known = CATALOGUE[signal].thresholds
    for name in values:
        if name not in known:
            raise SettingsError(
                f"--set: {signal} has no threshold {name!r}; expected one of {', '.join(sorted(known))}"
            )
    replaced = {known[name].setting or name: value for name, value in values.items()}
    try:
        checked = load(**replaced)
    except SettingsError as ex:
        raise SettingsError(f"--set: {ex}") from None
    return settings.model_copy(update={name: getattr(checked, name) for name in replaced})


def instants(start: datetime, end: datetime, every: timedelta) -> list[datetime]:
    """Return the instants from `start` to `end`, both included where the steps meet it.

    Raises SettingsError where there are none, or too many.
    """
    if end < start:
        raise SettingsError(f"--to: {end.isoformat()} is before --from; expected a later instant")
    count = (end - start) // every + 1
    if count > MAX_INSTANTS:
        raise SettingsError(
            f"--every: {count} instants; expected {MAX_INSTANTS} at most, so a longer step or less time"
        )
    return [start + every * number for number in range(count)]


def has_runs(conn: Connection, tenant: str) -> bool:
    """Tell whether the source has any row of a tenant: a name that is mistyped has none."""
    return bool(conn.execute(_HAS_RUNS, {"tenant": tenant}).scalar_one())


def replay(
    conn: Connection, rule: Rule, moments: Sequence[datetime], settings: Settings, candidate: Settings
) -> Iterator[Replay]:
    """Yield what the rule flags at each instant, with both sets of thresholds.

    Leaves temporary rows alone, which go when the transaction ends.
    """
    for at in moments:
        yield Replay(
            at,
            _flagged(conn, rule, settings, at),
            _flagged(conn, rule, candidate, at),
            _stored(conn, rule, at),
        )


def _flagged(conn: Connection, rule: Rule, settings: Settings, at: datetime) -> frozenset[Item]:
    signal = SIGNALS[rule.signal]
    stage_signal(conn, signal, settings, at, [rule.tenant])
    items = signal.item_stage.c
    flag: ColumnElement[bool] = true()
    if rule.signal == "cost":
        flag = items.robust_verdict == "anomaly" if rule.is_robust else items.is_anomaly
    keys = [items[name] for name in CATALOGUE[rule.signal].item_key]
    return frozenset(tuple(row) for row in conn.execute(select(*keys).where(items.tenant_id == rule.tenant, flag)))


def _stored(conn: Connection, rule: Rule, at: datetime) -> frozenset[Item] | None:
    """Return what the version that was current then flagged."""
    versions = [
        select(table.c.content, table.c["items"]).where(
            table.c.tenant_id == rule.tenant, table.c.signal == rule.signal, table.c.as_of <= literal(at), still_current
        )
        for table, still_current in (
            (snapshot, true()),
            (snapshot_history, snapshot_history.c.replaced_at > literal(at)),
        )
    ]
    found = conn.execute(union_all(*versions).limit(1)).first()
    if found is None:
        return None
    content = json.loads(found[0])
    read = _READERS.get(rule.signal)
    if read is None:
        definition = CATALOGUE[rule.signal]
        return frozenset(tuple(item[name] for name in definition.item_key) for item in content[definition.item_list])
    return frozenset(read(content, found[1], rule.is_robust))


def _of_patterns(content: dict[str, Any], _: object, __: object) -> Iterator[Item]:
    return ((entry["pattern_type"], entry["details"].get("skill_id")) for entry in content["patterns"])


def _of_cost(content: dict[str, Any], _: object, robust: object) -> Iterator[Item]:
    for agent in content["agents"]:
        is_flagged = agent.get("robust", {}).get("verdict") == "anomaly" if robust else agent["is_anomaly"]
        if is_flagged:
            yield (agent["agent_id"],)


def _of_attention(content: dict[str, Any], items: Sequence[str] | None, _: object) -> Iterator[Item]:
    queue = content["queue"] if items is None else map(json.loads, items)
    return ((item["run_id"],) for item in queue)


_READERS: Final[Mapping[str, Callable[[dict[str, Any], Any, object], Iterator[Item]]]] = MappingProxyType(
    {"patterns": _of_patterns, "cost": _of_cost, "attention": _of_attention}
)


def decisions(conn: Connection, rule: Rule) -> dict[Item, str]:
    """Return what people last decided of each item: that they act on it, or that it is expected."""
    said = (
        select(triage_event.c.key, triage_event.c.action)
        .where(
            triage_event.c.tenant_id == rule.tenant,
            triage_event.c.signal == rule.signal,
            triage_event.c.action.in_([_ACTED, _EXPECTED]),
        )
        .order_by(triage_event.c.event_no)
    )
    return {
        tuple(row.key.get(name) for name in CATALOGUE[rule.signal].item_key): row.action for row in conn.execute(said)
    }


def judged(flagged: frozenset[Item], decided: Mapping[Item, str]) -> Judgement:
    """Return how people judged the flagged items."""
    said = [decided[item] for item in flagged if item in decided]
    return Judgement(len(flagged), said.count(_ACTED), said.count(_EXPECTED))
