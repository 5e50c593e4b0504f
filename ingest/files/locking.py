"""Row locks of a load or an assembler: taken in key order, and never waited for while it holds others.

A host's session that waits for one of our rows looks for a deadlock once, after its deadlock_timeout, and is ended
when it finds one. A deadlock needs both sides to wait. So the rows that are free are taken. Where one is not, those of
the batch are let go of, and after a pause the batch is tried again. Only a key that another session inserts at the same
moment cannot be skipped: it is waited for `LOCK_TIMEOUT_MS` at a time.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import ARRAY, Text, and_, bindparam, cast, column, func, select, text, true

from ingest.files.upsert import as_stored, clause_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from ingest.files.targets import Target

#: The longest wait for any lock while rows are held, milliseconds; small beside deadlock_timeout (1 s by default).
LOCK_TIMEOUT_MS: Final = 50
#: Seconds for which a batch whose rows other sessions hold is tried again.
PATIENCE_S: Final = 2.0
#: Seconds between two tries: random, so that two sessions in step fall out of it.
_PAUSE_S: Final = (0.005, 0.05)

_CURRENT: Final = text("select current_setting('lock_timeout')")
_SET: Final = text("select set_config('lock_timeout', :value, true)")


@contextmanager
def hurried(conn: Connection) -> Iterator[None]:
    """Bound every wait for a lock by `LOCK_TIMEOUT_MS` meanwhile; after an error the caller rolls back to before."""
    before = conn.execute(_CURRENT).scalar_one()
    conn.execute(_SET, {"value": f"{LOCK_TIMEOUT_MS}ms"})
    yield
    conn.execute(_SET, {"value": before})


def pause() -> None:
    """Pause between two tries."""
    time.sleep(random.uniform(*_PAUSE_S))  # noqa: S311  # a pause, not a secret


def lock_rows(conn: Connection, target: Target, keys: Sequence[Sequence[object]], *, nowait: bool) -> bool:
    """Lock the rows of `target` that `keys` name, in key order; return False when another session holds one of them.

    With `nowait`, raises the driver's LockNotAvailable instead. The keys are parameters: a staged text has a collation
    of its own, which no index of the host's has.
    """
    if not keys:
        return True
    host_table = clause_of(target)
    columns = [target.columns[position] for position in target.keys]
    names = [f"k{number}" for number in range(len(columns))]
    arrays = [cast(bindparam(name), ARRAY(Text)) for name in names]
    named = func.unnest(*arrays).table_valued(*(column(name, Text) for name in names)).render_derived("named")
    same = [host_table.c[one.name] == as_stored(one, named.c[name]) for one, name in zip(columns, names, strict=True)]
    rows = select(true().label("is_there")).select_from(host_table.join(named, and_(*same)))
    ordered = rows.order_by(*(host_table.c[one.name] for one in columns))
    locking = ordered.with_for_update(of=host_table, key_share=True, nowait=nowait, skip_locked=not nowait)
    counts = [select(func.count()).select_from(each).scalar_subquery() for each in (locking.cte("locked"), rows.cte())]
    values = dict(zip(names, map(list, zip(*keys, strict=True)), strict=True))
    locked, there = conn.execute(select(*counts), values).one()
    return bool(locked == there)
