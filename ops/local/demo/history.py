"""The demo's past: eight days of runs in a daily rhythm, with something to find in the last hours."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Final

from ops.local.demo.agents import BUSY_TENANTS, TENANTS, Agent
from ops.local.demo.runs import Records, Run, add
from ops.local.demo.scenarios import COSTLY, NOTABLE, STALLED, USUAL

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED: Final = 20260117
#: What the ids of the demo's runs look like, as a regular expression of PostgreSQL's: a host's own rows have others.
RUN_ID: Final = "run-[0-9a-f]{16}"
DAYS: Final = 8
#: Of the past's runs, this share shows in a signal.
_NOTABLE_SHARE: Final = 0.012
_TODAY: Final = timedelta(hours=23)
_BUSIEST_HOUR: Final = 14
#: Hours before the end at which a busy tenant has a run of each scenario.
_PLANTED: Final = {
    "retry_loop": (0.4, 2.9, 9.5),
    "repetition": (1.1, 6.2),
    "tool_loop": (0.7, 4.3, 12.0),
    "timeout_cascade": (0.5, 2.2, 7.4),
    "slow": (0.8, 3.6, 10.0),
    "lost_evidence": (1.7, 8.1),
    "no_evidence": (5.1,),
    "incident": (2.6, 5.7, 11.0),
    "degraded_integrity": (3.2,),
    "violation": (1.4, 13.0),
    STALLED: (0.15,),
}
#: So many runs of each agent of a busy tenant are under way at the end.
_UNDER_WAY: Final = 2


def tell_history(as_of: datetime, *, seed: int = SEED, since: datetime | None = None) -> Records:
    """Return the rows of the days before `as_of`, or of the time after `since`; the same for the same arguments."""
    rng = Random(f"{seed} {as_of.astimezone(UTC).isoformat()}")  # noqa: S311  # a story, not a secret
    earliest = as_of - timedelta(days=DAYS)
    records = Records()
    runs = [*_past(rng, as_of), *_planted(rng, as_of), *_under_way(rng, as_of)]
    for run in sorted(runs, key=lambda run: (run.started_at, run.run_id)):
        if run.started_at > max(earliest, since or earliest):
            add(records, run, as_of)
    return records


def new_run_id(rng: Random) -> str:
    """Return an id for a run."""
    return f"run-{rng.getrandbits(64):016x}"


def activity_at(moment: datetime) -> float:
    """Return how busy the agents are at `moment`, from 0.25 at night to 1 in the early afternoon (UTC)."""
    hour = moment.astimezone(UTC).hour + moment.minute / 60
    return 0.625 + 0.375 * math.cos(2 * math.pi * (hour - _BUSIEST_HOUR) / 24)


def _past(rng: Random, as_of: datetime) -> Iterator[Run]:
    for tenant, agents in TENANTS.items():
        for agent in agents:
            # In the order of time, so that every so many-th run is costly on every day alike.
            moments = sorted(_moment(rng, as_of) for _ in range(agent.runs_per_day * DAYS))
            for number, started_at in enumerate(moments):
                scenario = _scenario(rng, tenant, agent, number, is_today=as_of - started_at < _TODAY)
                yield Run(new_run_id(rng), tenant, agent, started_at, scenario)


def _moment(rng: Random, as_of: datetime) -> datetime:
    while True:
        moment = as_of - timedelta(seconds=round(rng.uniform(60, DAYS * 86_400), 3))
        if rng.random() < activity_at(moment):
            return moment


def _scenario(rng: Random, tenant: str, agent: Agent, number: int, *, is_today: bool) -> str:
    every = agent.costly_of_today if is_today else agent.costly_of_past
    if every and number % every == 0:
        return COSTLY
    is_notable = not is_today and tenant in BUSY_TENANTS and rng.random() < _NOTABLE_SHARE
    return rng.choice(NOTABLE) if is_notable else USUAL


def _planted(rng: Random, as_of: datetime) -> Iterator[Run]:
    for tenant in BUSY_TENANTS:
        for scenario, ages in _PLANTED.items():
            for age in ages:
                started_at = as_of - timedelta(hours=round(age * rng.uniform(0.95, 1.05), 5))
                yield Run(new_run_id(rng), tenant, rng.choice(TENANTS[tenant]), started_at, scenario)


def _under_way(rng: Random, as_of: datetime) -> Iterator[Run]:
    """Yield runs that started a moment ago, in less time than any of them takes."""
    for tenant in BUSY_TENANTS:
        for agent in TENANTS[tenant]:
            for _ in range(_UNDER_WAY):
                age = rng.uniform(0.5, 0.5 * len(agent.skills) * agent.pause_ms / 1000)
                yield Run(new_run_id(rng), tenant, agent, as_of - timedelta(seconds=round(age, 3)), USUAL)
