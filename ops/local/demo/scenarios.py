"""Scenarios of demo runs: steps in time, their costs, and the end of the run.

All of it follows from the run's id, its agent and its scenario, so a run that is LIVE can be taken up again by anyone
who reads its row.
Source: docs/specification-notes.md#pattern-window-and-thresholds,
docs/specification-notes.md#retry-loop-counts-all-retries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ops.local.demo.agents import Agent

USUAL: Final = "usual"
COSTLY: Final = "costly"
STALLED: Final = "stalled"
#: A stalled run is given up after this, milliseconds.
GIVEN_UP_MS: Final = 40 * 60_000.0
#: A step slower than this counts towards a timeout cascade; a usual one stays below. Milliseconds.
_SLOW_STEP_MS: Final = 5_000.0
_MOST_OF_A_USUAL_STEP: Final = 0.9 * _SLOW_STEP_MS
_STEP_SIGMA: Final = 0.4
_USD_PER_TOKEN: Final = 0.000_004
_SHARE_ABORTED: Final = 0.02
_SHARE_RETRIED: Final = 0.01


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `offset_ms` after the run's start, `duration_ms` long."""

    skill: str
    offset_ms: float
    duration_ms: float
    cost_cents: float = 0.0
    retry_count: int = 0
    is_failed: bool = False

    @property
    def end_ms(self) -> float:
        """Return when it is over, milliseconds after the run's start."""
        return self.offset_ms + self.duration_ms


@dataclass(frozen=True, slots=True)
class Course:
    """The course of a run, told to its end; `recorded` are the steps that telemetry keeps."""

    steps: Sequence[Step]
    recorded: Sequence[Step]
    duration_ms: float
    status: str
    cost_usd: float
    input_tokens: int
    output_tokens: int
    evidence_health: str = "FLOWING"
    integrity_status: str = "VERIFIED"
    incident_count: int = 0
    policy_draft_count: int = 0
    is_violation: bool = False
    #: From here on no heartbeat comes, milliseconds after the start.
    silent_from_ms: float | None = None


def tell(run_id: str, agent: Agent, scenario: str) -> Course:
    """Return the course of a run; a scenario without a rule of its own is a usual run."""
    rng = Random(f"{run_id} {scenario}")  # noqa: S311  # a story, not a secret
    arrange = _SKILLS.get(scenario, _usual_skills)
    steps = _time(agent, arrange(agent, rng), rng)
    steps = _STEPS[scenario](steps, rng) if scenario in _STEPS else steps
    course = _finish(agent, steps, scenario, rng)
    return _COURSES[scenario](course, agent, rng) if scenario in _COURSES else course


def _usual_skills(agent: Agent, rng: Random) -> list[str]:
    """Return most skills in their order, now and then one of them twice: no skill often enough to be a loop."""
    left_out = rng.randrange(len(agent.skills) * 3)
    skills = [skill for position, skill in enumerate(agent.skills) if position != left_out]
    if rng.random() < 0.25:  # noqa: PLR2004  # a share
        skills.append(rng.choice(skills[:-1]))
    return skills


def _repeating_skills(agent: Agent, rng: Random) -> list[str]:
    """Return a run that does one thing again and again."""
    stuck = rng.randrange(1, len(agent.skills))
    return [*agent.skills[:stuck], *[agent.skills[stuck]] * rng.randint(4, 6)]


def _looping_skills(agent: Agent, rng: Random) -> list[str]:
    """Return a run that comes back to one skill between others."""
    hub, others = agent.skills[1], [agent.skills[0], *agent.skills[2:]]
    between = [skill for other in others[: rng.randint(3, 4)] for skill in (other, hub)]
    return [*between, others[-1]] if len(others) > 4 else between  # noqa: PLR2004  # a last one, where there is one more


def _time(agent: Agent, skills: Sequence[str], rng: Random) -> list[Step]:
    steps, now = [], rng.uniform(0.2, 1.0) * agent.pause_ms
    for skill in skills:
        duration = min(rng.lognormvariate(math.log(agent.step_ms), _STEP_SIGMA), _MOST_OF_A_USUAL_STEP)
        steps.append(Step(skill, round(now, 1), round(duration, 1), retry_count=int(rng.random() < 0.03)))  # noqa: PLR2004  # a share
        now += duration + rng.uniform(0.5, 1.5) * agent.pause_ms
    # Two single retries are weather; the third would make a retry loop.
    retried = [step for step in steps if step.retry_count]
    return [replace(step, retry_count=0) if step in retried[2:] else step for step in steps]


def _retry(steps: list[Step], rng: Random) -> list[Step]:
    stuck = rng.randrange(1, len(steps))
    retries = rng.randint(3, 6)
    failing = replace(steps[stuck], retry_count=retries, is_failed=True)
    before = [replace(step, retry_count=rng.randint(0, 1)) for step in steps[:stuck]]
    return [*before, failing]


def _cascade(steps: list[Step], rng: Random) -> list[Step]:
    """Make each of the last steps slower than the one before."""
    slow, shift, told = _SLOW_STEP_MS * rng.uniform(1.2, 1.6), 0.0, []
    first = len(steps) - rng.randint(3, 4)
    for position, step in enumerate(steps):
        duration = round(slow, 1) if position >= first else step.duration_ms
        told.append(replace(step, offset_ms=round(step.offset_ms + shift, 1), duration_ms=duration))
        shift += duration - step.duration_ms
        slow *= 1.25 if position >= first else 1.0
    return [*told[:-1], replace(told[-1], is_failed=rng.random() < 0.5)]  # noqa: PLR2004  # a share


def _finish(agent: Agent, steps: Sequence[Step], scenario: str, rng: Random) -> Course:
    factor = agent.costly_factor if scenario == COSTLY else 1.0
    cost = agent.cost_usd * factor * rng.lognormvariate(0.0, agent.cost_sigma)
    weights = [rng.uniform(0.5, 1.5) * (1 + step.retry_count) for step in steps]
    priced = [
        replace(step, cost_cents=round(100 * cost * weight / sum(weights), 4))
        for step, weight in zip(steps, weights, strict=True)
    ]
    tokens = int(cost / _USD_PER_TOKEN)
    output = int(tokens * rng.uniform(0.1, 0.2))
    return Course(
        steps=priced,
        recorded=priced,
        duration_ms=round(priced[-1].end_ms + rng.uniform(0.1, 0.5) * agent.pause_ms, 1),
        status="failed" if any(step.is_failed for step in priced) else _status(agent, rng),
        cost_usd=round(cost, 4),
        input_tokens=tokens - output,
        output_tokens=output,
    )


def _status(agent: Agent, rng: Random) -> str:
    shares = (agent.failure_rate, _SHARE_ABORTED, _SHARE_RETRIED)
    return rng.choices(("failed", "aborted", "retry", "succeeded"), (*shares, 1 - sum(shares)))[0]


def _slow(course: Course, agent: Agent, rng: Random) -> Course:
    """Let it wait for somebody between its steps: slow, though no step is."""
    return replace(course, duration_ms=round(agent.expected_latency_ms * rng.uniform(1.3, 3.5), 1))


def _stall(course: Course, agent: Agent, rng: Random) -> Course:  # noqa: ARG001  # one signature for all
    heard = course.steps[: rng.randint(1, 2)]
    return replace(
        course,
        recorded=heard,
        duration_ms=GIVEN_UP_MS,
        status="aborted",
        integrity_status="UNKNOWN",
        silent_from_ms=heard[-1].end_ms,
    )


def _lose_evidence(course: Course, agent: Agent, rng: Random) -> Course:  # noqa: ARG001  # one signature for all
    kept = course.steps[: len(course.steps) // 2]
    return replace(course, recorded=kept, evidence_health="DEGRADED")


def _no_evidence(course: Course, agent: Agent, rng: Random) -> Course:  # noqa: ARG001  # one signature for all
    return replace(course, recorded=(), evidence_health="MISSING")


def _incident(course: Course, agent: Agent, rng: Random) -> Course:  # noqa: ARG001  # one signature for all
    return replace(course, incident_count=rng.randint(1, 2), status="failed")


def _degrade(course: Course, agent: Agent, rng: Random) -> Course:  # noqa: ARG001  # one signature for all
    return replace(course, integrity_status="DEGRADED", policy_draft_count=1)


def _violate(course: Course, agent: Agent, rng: Random) -> Course:  # noqa: ARG001  # one signature for all
    verdict = rng.choice(("VERIFIED", "FAILED"))
    return replace(course, is_violation=True, policy_draft_count=1, integrity_status=verdict, status="aborted")


_SKILLS: Final[Mapping[str, Callable[[Agent, Random], list[str]]]] = {
    "repetition": _repeating_skills,
    "tool_loop": _looping_skills,
}
_STEPS: Final[Mapping[str, Callable[[list[Step], Random], list[Step]]]] = {
    "retry_loop": _retry,
    "timeout_cascade": _cascade,
}
_COURSES: Final[Mapping[str, Callable[[Course, Agent, Random], Course]]] = {
    STALLED: _stall,
    "slow": _slow,
    "lost_evidence": _lose_evidence,
    "no_evidence": _no_evidence,
    "incident": _incident,
    "degraded_integrity": _degrade,
    "violation": _violate,
}
#: Every scenario that shows in a signal, the costly one aside: that belongs to agents.
NOTABLE: Final = (*_SKILLS, *_STEPS, *_COURSES)
