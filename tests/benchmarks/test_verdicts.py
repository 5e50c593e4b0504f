"""The simulation of the rules on cost, small: what it prints, and that the goals can be missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import verdicts

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SIZES = ((1, 1), (300, 50))


def test_the_robust_rule_flags_fewer_healthy_agents_and_finds_more_doubled_costs(conn: Connection) -> None:
    rates = verdicts.simulate(conn, 20, ["lognormal"], _SIZES)
    lines = verdicts.table(rates)

    assert len(lines) == 2 + len(_SIZES) + 4
    assert [line for line in lines if line.startswith("MISSED")] == []
    assert 0.1 < rates[0].spec < 0.9


def test_a_rule_that_flags_the_wrong_agents_misses_the_goals() -> None:
    rates = [
        verdicts.Rates("lognormal", *size, factor, 1000, spec=1.0, robust=float(factor == 1))
        for size in _SIZES
        for factor in verdicts.FACTORS
    ]

    assert [met for _, met in verdicts.goals(rates)] == [False, False, False, False]
