"""One tick of all three signals after a minute and a half of new runs, published, in the state that ticks find.

Source: docs/specification-notes.md#rescoring.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, text

from benchmarks.scales import statements
from benchmarks.timing import timed
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from snapshots.settings import Settings

NEW_RUNS: Final = Path(__file__).parent / "sql" / "new_runs.sql"
#: 0.1 % of a day is this long.
TICK_S: Final = 86.4
#: The longest first.
_ORDER: Final = ("cost", "attention", "patterns")
#: Queues are rescored when they are this old, seconds; in steady state their ages are spread over it.
_RESCORE_S: Final = 270


def tick(engine: Engine, settings: Settings, *, runs: int, number: int) -> dict[str, float]:
    """Write `runs` new runs of the last 86 s, twice, and return the seconds of the tick after each.

    One is refreshed signal by signal, the other on two connections at once.
    """
    _prepare(engine, runs, 2 * number)
    seconds = {name: timed(partial(_done, engine, name, settings)) for name in _ORDER}
    _prepare(engine, runs, 2 * number + 1)
    return {"both_cores": timed(partial(_both_cores, engine, settings)), "sum": sum(seconds.values()), **seconds}


def _both_cores(engine: Engine, settings: Settings) -> None:
    """Refresh all signals on two connections, as two worker processes do."""
    with ThreadPoolExecutor(max_workers=2) as processes:
        for done in [processes.submit(_done, engine, name, settings) for name in _ORDER]:
            done.result()


def _prepare(engine: Engine, runs: int, number: int) -> None:
    add_runs(engine, runs, number)
    _let_time_pass(engine)


def add_runs(engine: Engine, runs: int, number: int) -> None:
    """Write new runs, of tenants drawn by their sizes."""
    with engine.begin() as conn:
        binds = {
            "runs": runs,
            "round": number,
            "span_s": TICK_S,
            "as_of": conn.execute(select(func.now())).scalar_one(),
        }
        for statement in statements(NEW_RUNS):
            conn.execute(text(statement), {name: binds[name] for name in text(statement).compile().params})


def _let_time_pass(engine: Engine) -> None:
    """Have the facts be one tick old, and the queues of any age up to that of their rescoring."""
    with engine.begin() as conn:
        conn.execute(text("update signals.fact_state set as_of = as_of - make_interval(secs => :s)"), {"s": TICK_S})
        age = "now() - random() * make_interval(secs => :s)"
        aged = f"update signals.snapshot set as_of = {age} where signal = 'attention'"  # noqa: S608  # a constant
        conn.execute(text(aged), {"s": _RESCORE_S})
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        conn.exec_driver_sql("vacuum signals.snapshot")


def _done(engine: Engine, name: str, settings: Settings) -> None:
    """Refresh one signal, and make sure that it was the tick that is measured."""
    result = refresh(engine, name, settings)
    if result is None or result.method != "incremental" or not result.is_drained:
        raise RuntimeError(f"{name}: no incremental tick: {result}")
