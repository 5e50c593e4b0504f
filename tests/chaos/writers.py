"""Hosts that write throughout: new runs, traces and steps, late steps, edits, moves and deletions."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from benchmarks.scales import statements
from benchmarks.soak import WRITES
from snapshots import database
from tests.chaos.threads import Threads

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy import TextClause

    from snapshots.settings import Settings

_WRITERS: Final = 2
_PACE_S: Final = 0.1
#: Errors of a host that are the fault's or its own: a server that is away or ends, a deadlock, a lock, a timeout.
_OF_FAULTS: Final = frozenset({"", "57P01", "57P02", "57P03", "08006", "08001", "40P01", "40001", "55P03", "57014"})
#: One transaction in so many is undone.
_UNDONE: Final = 0.05


class Writers(Threads):
    """Threads that write; an error that our triggers would have caused is kept in `errors`."""

    def __init__(self, settings: Settings, seed: int) -> None:
        """Take the settings, whose owner writes."""
        super().__init__(*(partial(self._write, number, seed) for number in range(_WRITERS)))
        self._engine = database.connect(database.url_of(settings, "owner"), name="host", pool_size=_WRITERS)
        self._writes = [text(statement) for statement in statements(WRITES)]
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []

    def __exit__(self, kind: type[BaseException] | None, ex: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, and close the connections."""
        super().__exit__(kind, ex, trace)
        self._engine.dispose()

    def _write(self, number: int, seed: int) -> None:
        chance, turn = random.Random(seed * _WRITERS + number), 0  # noqa: S311  # no secret
        while not self.over.wait(_PACE_S):
            turn += 1
            try:
                self._transaction(chance, f"{number}-{turn}")
            except DBAPIError as ex:
                self._note(ex)
                self.over.wait(_PACE_S)

    def _transaction(self, chance: random.Random, label: str) -> None:
        with self._engine.connect() as conn:
            for statement in chance.sample(self._writes, chance.randint(1, len(self._writes))):
                conn.execute(statement, _used(statement, {"label": label, "draw": chance.random()}))
            if chance.random() < _UNDONE:
                conn.rollback()
            else:
                conn.commit()
        self.counts["transactions"] += 1

    def _note(self, ex: DBAPIError) -> None:
        code = str(getattr(ex.orig, "pgcode", None) or "")
        self.counts[f"errors {code or 'connection'}"] += 1
        if code not in _OF_FAULTS:
            self.errors.append(f"a host's write failed: {code} {str(ex.orig).strip().splitlines()[0]}")


def _used(statement: TextClause, binds: dict[str, object]) -> dict[str, object]:
    wanted = statement.compile().params
    return {name: value for name, value in binds.items() if name in wanted}
