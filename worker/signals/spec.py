"""What a signal is: queries in order, what of their results is kept between refreshes, and how changes reach it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, Text, any_, func, select, tuple_

from worker.engine import queries
from worker.engine.shards import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Table, TableClause

    from snapshots.settings import Settings
    from worker.engine.shards import Shard

#: Another one, and facts and answers are made anew: the extra fields changed their meaning.
EXTRAS_VERSION: Final = "1.0"
#: The instant for which the binds of a signal are hashed: any will do, as long as it stays the same.
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def in_stage(column: ColumnElement[object], noted: Column[object]) -> ColumnElement[bool]:
    """Return the condition that `column` is among the noted keys; as an array, so that its index is used."""
    return column == any_(func.array(select(noted).scalar_subquery(), type_=Text))


@dataclass(frozen=True, slots=True)
class Keys:
    """A stage table of keys, and which of its columns are found by index (`leading`) before all are compared."""

    table: Table
    leading: str

    def among(self, rows: Table) -> ColumnElement[bool]:
        """Return the condition that a row of `rows` has one of the keys."""
        names = [column.name for column in self.table.columns]
        found = in_stage(rows.c[self.leading], self.table.c[self.leading])
        if len(names) == 1:
            return found
        exact = tuple_(*(rows.c[name] for name in names)).in_(select(*(self.table.c[name] for name in names)))
        return found & exact


@dataclass(frozen=True, slots=True)
class Kept:
    """A table that keeps what a step found, by the stage table's columns.

    `key` names columns that are never NULL and nearly identify a row; `changed` are the keys whose rows a refresh finds
    anew; `notes` are the keys that are noted of each row that differs; `reload` is the query that fills the stage with
    what the next step needs of it, None for all rows of the noted keys.
    """

    table: Table
    key: tuple[str, ...]
    changed: Keys
    notes: Keys
    reload: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One query and the stage table it fills; what it reads when only some rows changed is the query's own affair."""

    query: str
    stage: Table
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """The marks that a signal consumes: the queue, the stage table of their keys, and the tenant of a mark."""

    table: Table
    stage: Table
    tenant: ColumnElement[str]


@dataclass(frozen=True, slots=True)
class Movement:
    """How items are told apart, and from when on one has moved.

    `identities` is the query that finds them; a severity that moves by less than the share `step` has not, and one that
    rises by more than the share `worse_by` over its least is worse.
    """

    identities: str
    step: float = 0.0
    worse_by: float = 0.0


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal: its steps in order, and where their parameters come from.

    `stated` is what the content says it was computed with; `bound` are the queries' own binds; `window` is the body's
    `window` member, None where the signal has none; `extras` is what the extra fields were computed with.
    `queue` and `clock` (a query) say what changed since the last refresh, `probe` (a query) what a tick compares;
    `sources` are the tables whose triggers fill the queue, `tenants` is where the tenants with rows are found.
    `moves_with_clock` marks content that ages without a change of its rows (R26).
    """

    name: str
    rule_version: str
    steps: tuple[Step, ...]
    item_stage: Table
    queue: Queue
    clock: str
    probe: str
    sources: tuple[str, ...]
    tenants: TableClause
    stated: Callable[[Settings], Mapping[str, object]]
    bound: Callable[[Settings, datetime], Mapping[str, object]]
    movement: Movement
    window: Callable[[Settings, datetime], Mapping[str, str]] | None = None
    extras: Callable[[Settings], Mapping[str, object]] | None = None
    moves_with_clock: bool = False

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

        `only_changed` leaves out the source rows that are not marked in the stage, `excluded` the tenants set aside.
        """
        return {
            "as_of": as_of,
            "tenants": None if tenants is None else list(tenants),
            "shard": shard.number,
            "shards": shard.count,
            "only_changed": only_changed,
            "excluded": list(excluded),
            "exclude_synthetic": settings.exclude_synthetic,
            "stated_parameters": _json(self.stated(settings)),
            "extras": settings.extras,
            "stated_extras": _json(self._extras(settings)),
            **self.bound(settings, as_of),
        }

    def rules(self, settings: Settings) -> str:
        """Return what the facts depend on besides the source rows: another text, and they are made anew.

        The hash of the query files and of every bind makes each change of them another text, whatever `rule_version`
        says.
        """
        extras = _json(self._extras(settings)) if settings.extras else "without extras"
        return f"{self.rule_version} {_json(self.stated(settings))} {extras} {self._digest(settings)}"

    @property
    def query_names(self) -> tuple[str, ...]:
        """Return the query files that the facts and the content come from, in a fixed order."""
        reloads = (step.kept.reload for step in self.steps if step.kept is not None)
        return (*(step.query for step in self.steps), *(name for name in reloads if name is not None), self.clock)

    def _digest(self, settings: Settings) -> str:
        binds = json.dumps(self.parameters(settings, _EPOCH), default=str, sort_keys=True)
        return hashlib.sha256(f"{_texts_digest(self.query_names)} {binds}".encode()).hexdigest()[:32]

    def _extras(self, settings: Settings) -> Mapping[str, object]:
        return {"extras_version": EXTRAS_VERSION, **({} if self.extras is None else self.extras(settings))}

    def window_json(self, settings: Settings, as_of: datetime) -> str | None:
        """Return the `window` member for `as_of` as JSON; None where the signal has none."""
        return None if self.window is None else _json(self.window(settings, as_of))


@cache
def _texts_digest(names: tuple[str, ...]) -> str:
    texts = [queries.load(name).meaning for name in names]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def plain(number: float) -> float:
    """Return `number` without the fraction that it does not have: 5000, not 5000.0 (R4a)."""
    return int(number) if number.is_integer() else number


def _json(member: Mapping[str, object]) -> str:
    return json.dumps(member, ensure_ascii=False, separators=(",", ":"))
