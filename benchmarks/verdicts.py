"""Rates at which the two rules on cost flag healthy agents, and find those whose costs doubled.

    python -m benchmarks.verdicts [--agents N] [--json PATH]

Costs are drawn inside a database and judged by the queries of the product: lognormal, heavy-tailed and seasonal ones,
each at several sizes of baseline and current day, as they are (a flag is a false one) and shifted to twice as much on
the current day (a flag is a detection). Prints both rules side by side, and the goals.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from sqlalchemy import func, select, text

from benchmarks.scales import SEED, empty_database, statements
from snapshots import settings as settings_module
from worker.engine.compute import stage_signal
from worker.engine.stage import stage_cost_item
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

RUNS: Final = Path(__file__).parent / "sql" / "verdict_runs.sql"
SHAPES: Final = ("lognormal", "heavy", "seasonal")
#: Runs of the baseline, and of the current day.
SIZES: Final = ((1, 1), (20, 5), (50, 10), (300, 50))
#: What the costs of the current day are multiplied by: a healthy agent, and a shifted one.
FACTORS: Final = (1, 2)
_AS_OF: Final = datetime(2026, 1, 17, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rates:
    """The fraction of agents that each rule flags in one case; `robust` counts anomalies."""

    shape: str
    baseline: int
    current: int
    factor: int
    agents: int
    spec: float
    robust: float


@click.command()
@click.option("--agents", type=click.IntRange(1), default=1000, show_default=True, help="Agents per case.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), default="bench-verdicts.json", show_default=True)
def main(agents: int, json_path: Path) -> None:
    """Simulate, print and save."""
    with empty_database() as engine, engine.connect() as conn:
        rates = simulate(conn, agents)
    json_path.write_text(json.dumps([asdict(each) for each in rates], indent=2) + "\n")
    click.echo("\n".join(table(rates)))


def simulate(
    conn: Connection,
    agents: int,
    shapes: Sequence[str] = SHAPES,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> list[Rates]:
    """Return the rates of every case; leaves nothing in the database."""
    cases = [(shape, size, factor) for shape in shapes for size in sizes for factor in FACTORS]
    return [_judged(conn, shape, size, factor, agents) for shape, size, factor in cases]


def _judged(conn: Connection, shape: str, size: tuple[int, int], factor: int, agents: int) -> Rates:
    savepoint = conn.begin_nested()
    conn.execute(select(func.setseed(SEED)))
    case = {"shape": shape, "baseline": size[0], "current": size[1], "factor": factor, "agents": agents}
    for statement in statements(RUNS):
        conn.execute(text(statement), {**case, "as_of": _AS_OF})
    conn.execute(text("analyze runs"))
    stage_signal(conn, SIGNALS["cost"], settings_module.load(), _AS_OF)
    flagged = (stage_cost_item.c.is_anomaly, stage_cost_item.c.robust_verdict == "anomaly")
    found = conn.execute(select(func.count(), *(func.count().filter(flag) for flag in flagged))).one()
    savepoint.rollback()
    if found[0] != agents:
        raise RuntimeError(f"{found[0]} agents were judged; expected {agents}")
    return Rates(shape, *size, factor, agents, found[1] / agents, found[2] / agents)


def table(rates: list[Rates]) -> list[str]:
    """Return the lines that are printed: false flags and detections, both rules side by side, then the goals."""
    lines = [
        "costs      runs      healthy flagged       doubled found",
        "           base/day  spec     robust     spec     robust",
    ]
    for healthy, doubled in zip(rates[::2], rates[1::2], strict=True):
        figures = "".join(f"{each:>9.1%}" for each in (healthy.spec, healthy.robust, doubled.spec, doubled.robust))
        lines.append(f"{healthy.shape:10} {f'{healthy.baseline}/{healthy.current}':8}{figures}")
    return lines + [f"{'holds' if met else 'MISSED'}: {goal}" for goal, met in goals(rates)]


def goals(rates: list[Rates]) -> list[tuple[str, bool]]:
    """Return the simulated rates and whether each is met within three standard errors."""
    known = {(each.baseline, each.current, each.factor): each for each in rates if each.shape == "lognormal"}
    single, healthy, doubled = known[1, 1, 1], known[300, 50, 1], known[300, 50, 2]
    return [
        ("the robust rule abstains at 1/1 (the z rule flags 48.8 % there)", single.robust == 0),
        (
            "at most 0.5 % of healthy agents are flagged at 300/50",
            healthy.robust <= 0.005 + _error(0.005, healthy.agents),
        ),
        (
            "at least 54.5 % of doubled costs are found at 300/50",
            doubled.robust >= 0.545 - _error(0.545, doubled.agents),
        ),
        ("the robust rule finds more doubled costs at 300/50 than the z rule", doubled.robust > doubled.spec),
    ]


def _error(rate: float, agents: int) -> float:
    return 3 * math.sqrt(rate * (1 - rate) / agents)


if __name__ == "__main__":
    main()
