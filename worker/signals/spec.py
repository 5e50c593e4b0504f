"""Signal specification: the queries of a signal, the facts they keep, and how changes reach them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, Text, any_, column, func, select, table, tuple_

from snapshots.errors import ActivityError
from worker.engine import queries, stage
from worker.engine.shards import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Table, TableClause

    from snapshots.settings import Settings
    from snapshots.signal_catalogue import SignalDefinition
    from worker.engine.shards import Shard

#: Part of the facts' rules: raise it when the extra fields change their meaning.
EXTRAS_VERSION: Final = "1.0"

#: The instant for which a signal's parameters are hashed: any will do, as long as it stays the same.
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)

SOURCE_RUN: Final = table("source_run", column("tenant_id"), schema="signals")
SOURCE_TRACE: Final = table("source_trace", column("trace_id"), column("tenant_id"), schema="signals")


def in_stage(column: ColumnElement[object], keys: Column[object]) -> ColumnElement[bool]:
    """Return the condition that `column` is among the staged keys; as an array, so that its index is used."""
    return column == any_(func.array(select(keys).scalar_subquery(), type_=Text))


@dataclass(frozen=True, slots=True)
class Keys:
    """A stage table of keys, and which of its columns are found by index (`leading`) before all are compared."""

    table: Table
    leading: str

    def among(self, rows: Table) -> ColumnElement[bool]:
        """Return the condition that a row of `rows` has one of the keys."""
        names = [each.name for each in self.table.columns]
        found = in_stage(rows.c[self.leading], self.table.c[self.leading])
        if len(names) == 1:
            return found
        exact = tuple_(*(rows.c[name] for name in names)).in_(select(*(self.table.c[name] for name in names)))
        return found & exact


#: The tenants whose answer may have changed.
CHANGED_TENANTS: Final = Keys(stage.stage_tenant, leading="tenant_id")


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact table, with the stage table's columns, that keeps a step's rows between refreshes.

    `key` names columns that are never NULL and nearly identify a row; `changed` are the keys whose rows a refresh
    recomputes; `notes` receives the keys of each row that differs; `reload` is the query that fills the stage with what
    the next step needs of it, None for all rows of the noted keys.
    """

    table: Table
    key: tuple[str, ...]
    changed: Keys
    notes: Keys
    reload: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One query, the stage table it fills, and the fact table that keeps its rows, if any."""

    query: str
    stage: Table
    fact: Fact | None = None


@dataclass(frozen=True, slots=True)
class Incremental:
    """Path of changes to a signal, so that a refresh reads only changed rows.

    `queue` holds its change events, `keys` is the stage table of their keys, `tenant` is the tenant of an event.
    `window_edges` is the query that names what time alone changed. `probe` is the query that names a sample of keys,
    from `probe_rows` rows each, which a tick compares with the source. `sources` are the views whose triggers fill the
    queue.
    """

    queue: Table
    keys: Table
    tenant: ColumnElement[str]
    window_edges: str
    probe: str
    probe_rows: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Movement:
    """Identification of items, and the thresholds from which one counts as moved.

    `identities` is the query that finds them; a severity that moves by less than the share `step` has not moved, and
    one that rises by more than the share `worse_by` over its least is worse.
    """

    identities: str
    step: float = 0.0
    worse_by: float = 0.0


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """One signal: its published definition, its steps in order, and the parameters of their queries.

    `query_parameters` returns the binds beside those of every signal; `constants` and `extra_constants` are published
    with the thresholds; `window` returns the body's `window` member, None where the signal has none. Without
    `incremental` every refresh is full. `tenants` is where the tenants with rows are found. `moves_with_clock` marks
    content that ages without a change of its rows. `is_item` tells the staged rows that are items from the others.
    """

    definition: SignalDefinition
    rule_version: str
    steps: tuple[Step, ...]
    item_stage: Table
    incremental: Incremental | None
    tenants: TableClause
    query_parameters: Callable[[Settings, datetime], Mapping[str, object]]
    movement: Movement
    window: Callable[[Settings, datetime], Mapping[str, str]] | None = None
    constants: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    extra_constants: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    moves_with_clock: bool = False
    is_item: ColumnElement[bool] | None = None

    @property
    def name(self) -> str:
        """Return the signal's name."""
        return self.definition.name

    def parameters(  # noqa: PLR0913  # what narrows the rows, each by itself
        self,
        settings: Settings,
        as_of: datetime,
        tenants: Sequence[str] | None = None,
        *,
        shard: Shard = WHOLE,
        only_changed: bool = False,
        excluded: Sequence[str] = (),
    ) -> dict[str, object]:
        """Return the binds of all queries of the signal, for `tenants` (None is all) of a shard.

        `only_changed` leaves out the source rows whose keys are not staged, `excluded` the tenants in quarantine.
        """
        return {
            "as_of": as_of,
            "tenants": None if tenants is None else list(tenants),
            "shard": shard.number,
            "shards": shard.count,
            "only_changed": only_changed,
            "excluded": list(excluded),
            "exclude_synthetic": settings.exclude_synthetic,
            "stated_parameters": self.published_parameters(settings),
            "extras": settings.extras,
            "stated_extras": self.extra_parameters(settings),
            **self.query_parameters(settings, as_of),
        }

    def published_thresholds(self, settings: Settings, *, extra: bool = False) -> dict[str, object]:
        """Return the thresholds that the body states: the specification's, or with `extra` those of extra fields."""
        values = settings.thresholds(self.name)
        return {name: plain(values[name]) for name, each in self.definition.thresholds.items() if each.extra is extra}

    def published_parameters(self, settings: Settings) -> str:
        """Return the body's `parameters` member as JSON."""
        thresholds = self.published_thresholds(settings)
        return _json({**self.constants, **thresholds, "exclude_synthetic": settings.exclude_synthetic})

    def extra_parameters(self, settings: Settings) -> str:
        """Return the body's `extra_parameters` member as JSON."""
        thresholds = self.published_thresholds(settings, extra=True)
        return _json({"extras_version": EXTRAS_VERSION, **self.extra_constants, **thresholds})

    def rules(self, settings: Settings) -> str:
        """Return what the facts depend on besides the source rows; a different text means that they are remade.

        The hash of the query texts and of every parameter makes each change of them a different text, whatever
        `rule_version` says.
        """
        extras = self.extra_parameters(settings) if settings.extras else "without extras"
        parameters = json.dumps(self.parameters(settings, _EPOCH), default=str, sort_keys=True)
        digest = hashlib.sha256(f"{_texts_digest(self.query_names)} {parameters}".encode()).hexdigest()[:32]
        return f"{self.rule_version} {self.published_parameters(settings)} {extras} {digest}"

    @property
    def query_names(self) -> tuple[str, ...]:
        """Return the queries that the facts and the content come from, in a fixed order."""
        reloads = (step.fact.reload for step in self.steps if step.fact is not None)
        edges = () if self.incremental is None else (self.incremental.window_edges,)
        return (*(step.query for step in self.steps), *(name for name in reloads if name is not None), *edges)

    @property
    def changes(self) -> Incremental:
        """Return how changes reach the signal. Raises ActivityError for a signal without: it is always read in full."""
        if self.incremental is None:
            raise ActivityError(f"{self.name}: keeps no facts; every refresh reads all of its rows")
        return self.incremental

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the views whose changes are captured for the signal; none for one that is always read in full."""
        return () if self.incremental is None else self.incremental.sources

    def window_json(self, settings: Settings, as_of: datetime) -> str | None:
        """Return the `window` member for `as_of` as JSON; None where the signal has none."""
        return None if self.window is None else _json(self.window(settings, as_of))


@cache
def _texts_digest(names: tuple[str, ...]) -> str:
    texts = [queries.load(name).meaning for name in names]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def plain(number: float) -> float:
    """Return `number` without a fraction that is zero: 5000, not 5000.0."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _json(member: Mapping[str, object]) -> str:
    return json.dumps(member, ensure_ascii=False, separators=(",", ":"))
