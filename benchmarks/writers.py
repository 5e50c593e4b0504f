"""Cost of capture for the host: the rate of inserts with the triggers beside the rate without."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from benchmarks.scales import statements
from benchmarks.timing import timed
from migrations import capture

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: Agent runs per transaction, as a busy recorder batches them, and transactions per round.
_RUNS: Final = 50
_TRANSACTIONS: Final = 40
_STEPS: Final = 12
_ROUNDS: Final = 9


def insert_rates(engine: Engine) -> dict[str, Any]:
    """Return rows per second with and without capture, in turns on one database, and the median of the ratios.

    `one_by_one` is a recorder that sends each run, trace and batch of twelve steps as a statement of its own;
    `batched` sends fifty of each at once.
    """
    figures = {}
    for name, per_statement in (("one_by_one", 1), ("batched", _RUNS)):
        _round(engine, f"warm-{name}", per_statement)
        pairs = [_pair(engine, f"{name}-{number}", per_statement) for number in range(_ROUNDS)]
        rows = _TRANSACTIONS * _RUNS * (_STEPS + 2)
        figures[name] = {
            "rows_per_s_with_capture": round(rows / statistics.median(pair[0] for pair in pairs)),
            "rows_per_s_without": round(rows / statistics.median(pair[1] for pair in pairs)),
            "rate_ratio": statistics.median(without / captured for captured, without in pairs),
        }
    return figures


def _pair(engine: Engine, label: str, per_statement: int) -> tuple[float, float]:
    """Return the seconds of one round with capture, and of one without."""
    capture.install(engine)
    captured = timed(lambda: _round(engine, f"{label}-with", per_statement))
    capture.remove(engine)
    with engine.begin() as conn:
        conn.exec_driver_sql("truncate signals.dirty_trace, signals.dirty_run, signals.dirty_agent")
    return captured, timed(lambda: _round(engine, f"{label}-without", per_statement))


def _round(engine: Engine, label: str, per_statement: int) -> None:
    with engine.connect() as conn:
        for transaction in range(_TRANSACTIONS):
            for first in range(0, _RUNS, per_statement):
                binds = {"label": f"{label}-{transaction}", "first": first, "last": first + per_statement - 1}
                for statement in _INSERTS:
                    conn.execute(statement, binds)
            conn.commit()


_INSERTS: Final = tuple(map(text, statements(Path(__file__).parent / "sql" / "inserts.sql")))
