"""Change marks: consumed from the queues in bounded batches, and trusted only while the triggers are the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import Text, any_, cast, column, delete, func, insert, select, text
from sqlalchemy.types import UserDefinedType

from worker.engine import queries

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from worker.engine.shards import Shard
    from worker.signals.spec import Signal


class _Tid(UserDefinedType[str]):
    """PostgreSQL's tid: where a row is."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name."""
        return "tid"


#: Before the first row of every table.
START: Final = "(0,0)"
_PLACE: Final = column("ctid", _Tid)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one batch consumed: how many marks, and the place of the last one."""

    marks: int
    last: str


def take(conn: Connection, signal: Signal, shard: Shard, *, after: str = START, limit: int | None = None) -> Taken:
    """Move at most `limit` marks of a shard from their queue into the stage, from the place `after` on.

    A batch in the middle of a long queue does not read again what lies before it.
    """
    queue = signal.queue
    picked = select(_PLACE).select_from(queue.table).where(cast(after, _Tid) < _PLACE, shard.holds(queue.tenant))
    places = func.array(picked.limit(limit).correlate(None).scalar_subquery(), type_=Text)
    names = [each.name for each in queue.stage.columns]
    taken = (
        delete(queue.table)
        .where(any_(places) == _PLACE)
        .returning(*(queue.table.c[name] for name in names), _PLACE.label("place"))
        .cte("taken")
    )
    marked = insert(queue.stage).from_select(names, select(*(taken.c[name] for name in names)).distinct())
    counted = select(func.count(), cast(func.max(taken.c.place), Text)).select_from(taken)
    count, last = conn.execute(counted.add_cte(marked.cte("marked"))).one()
    return Taken(count, last or after)


def fingerprint(conn: Connection, signal: Signal) -> str | None:
    """Return what identifies the triggers that mark the signal's changes; None where some change may go unmarked."""
    query = queries.load("engine/capture_fingerprint")
    row = conn.execute(query.text, {"views": list(signal.sources)}).one()
    found: str | None = row.fingerprint
    return found


def backlog(conn: Connection, signal: Signal, *, at_most: int) -> int:
    """Return how many marks wait, counted up to `at_most`."""
    some = select(text("1")).select_from(signal.queue.table).limit(at_most).subquery()
    return int(conn.execute(select(func.count()).select_from(some)).scalar_one())
