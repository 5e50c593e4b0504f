"""Schemas of the extra fields: members that are absent where ACTIVITY_EXTRAS=false."""

from __future__ import annotations

from typing import Final

from api.openapi.shapes import Schema, array, boolean, integer, moment, named, nullable, number, one_of, record, text

_SKILL: Final = text("The skill.", examples=["search"])
_SHARE: Final = number(minimum=0, maximum=1)
VERDICTS: Final = ("normal", "anomaly", "saver", "insufficient_data", "cold_start")
REASONS: Final = (
    "costlier",
    "cheaper",
    "within_variation",
    "small_ratio",
    "small_effect",
    "few_baseline_runs",
    "no_priced_run",
    "no_baseline",
)

CYCLE: Final = record(
    {
        "period": integer("Steps of the sequence.", minimum=2, maximum=5),
        "repeats": integer("How often it comes in a row.", minimum=3),
        "skills": array(_SKILL, "The sequence, as it first comes."),
    },
    description="The longest sequence of 2 to 5 skills that comes at least three times in a row.",
)
#: Of an entry and of each of its runs.
PATTERN_EXTRAS: Final[dict[str, Schema]] = {
    "cycle": nullable(named("Cycle")),
    "density": nullable(
        {**_SHARE, "description": "Uses over the steps from the first use to the last; null where no skill is named."}
    ),
    "outcome_stable": nullable(
        boolean("Whether all uses share status and outcome code; if not, it may be polling, or progress.")
    ),
    "after_error": nullable(boolean("Whether at least half of the repeats follow a use of the skill that failed.")),
    "wasted_ms": nullable(number("Time of the repeats after the first, milliseconds.", minimum=0)),
    "wasted_cost_usd": nullable(number("Cost of the repeats after the first, US dollars.", minimum=0)),
    "share_of_run": nullable({**_SHARE, "description": "The repeats among the run's steps."}),
    "evidence_basis": one_of(("skill_name_only",), "Arguments are not recorded."),
}
SKILL_PATTERN: Final = record(
    {
        "skill_id": _SKILL,
        "pattern_types": array(one_of(("step_oscillation", "tool_call_loop"))),
        "run_count": integer("All runs of the window that repeat it.", minimum=1),
        "run_ids": array(text(examples=["run_7f3a"]), "The strongest ten."),
        "wasted_ms": nullable(number(minimum=0)),
        "wasted_cost_usd": nullable(number(minimum=0)),
    },
    description="What a skill costs over all runs that repeat it.",
)
PARAMETERS: Final = record({}, closed=False, description="What the extra members were computed with.")
#: Of the whole answer.
PATTERNS_EXTRAS: Final[dict[str, Schema]] = {
    "by_skill": array(named("SkillPattern"), "The skill with the most runs first; 20 at most."),
    "extra_parameters": PARAMETERS,
}

ROBUST: Final = record(
    {
        "method": nullable(one_of(("log_median_mad", "log_median_mean_ad", "log_median"))),
        "n_baseline": integer("Runs of the baseline with a cost above 0."),
        "n_current": integer("Runs of the current day with a cost above 0."),
        "zero_cost_runs": integer("Runs with a cost of 0 or less, which are left out."),
        "median_usd": nullable(number("The baseline's median cost.")),
        "mad_usd": nullable(number("What one median absolute deviation of the logs is above it.", minimum=0)),
        "ratio": nullable(number("The current median over the baseline's.", minimum=0)),
        "effect_usd": nullable(number("What the current runs cost beyond the baseline's median.")),
        "score": nullable(number("Distance of the medians' logs in their standard errors.")),
        "verdict": one_of(VERDICTS),
        "reason": one_of(REASONS),
    },
    description="The verdict on the log scale, beside the z rule's.",
)
AGENT_EXTRAS: Final[dict[str, Schema]] = {
    "robust": named("RobustVerdict"),
    "spike_runs": array(
        record({"run_id": text(), "cost_usd": number(), "ratio": number("Over the baseline's median.", minimum=0)}),
        "Single runaway runs of the current day, the costliest first; 5 at most.",
        maxItems=5,
    ),
    "volume_ratio": nullable(number("The day's total over the mean day of the baseline.")),
    "peer": {
        "anyOf": [
            record(
                {
                    "label": one_of(("tenant_peers",)),
                    "agents": integer("Agents that the reference is made of.", minimum=1),
                    "median_usd": number("The median of their baselines' medians.", minimum=0),
                    "ratio": nullable(number("The agent's current median over it.", minimum=0)),
                },
                description="The tenant's other agents, as the reference of one without a past; no verdict.",
            ),
            {"type": "null"},
        ]
    },
}
COST_EXTRAS: Final[dict[str, Schema]] = {
    "savers": array(text("The agent."), "Agents whose robust verdict is `saver`."),
    "silent_agents": array(
        record({"agent_id": text(), "baseline_runs": integer(minimum=1), "last_run_at": moment()}),
        "Agents with a baseline and no priced run in the current day; 100 at most.",
    ),
    "expected_false_flags": record(
        {"spec": number(minimum=0), "robust": number(minimum=0)},
        description="How many of the agents each rule would flag were all of them healthy.",
    ),
    "extra_parameters": PARAMETERS,
}

LINKS: Final = record(
    {
        "patterns": array(record({"pattern_type": text(), "skill_id": nullable(text())})),
        "cost": {
            "anyOf": [
                record(
                    {
                        "agent_id": text(),
                        "is_anomaly": boolean(),
                        "robust_verdict": nullable(one_of(VERDICTS)),
                    }
                ),
                {"type": "null"},
            ]
        },
    },
    description="The entries of the other signals that name this run or its agent; no part of the score.",
)
ITEM_EXTRAS: Final[dict[str, Schema]] = {"links": named("Links")}
QUEUE_EXTRAS: Final[dict[str, Schema]] = {
    "links_as_of": record(
        {"patterns": nullable(moment()), "cost": nullable(moment())},
        description="The instants of the answers that the links lead to.",
    )
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Cycle": CYCLE,
    "SkillPattern": SKILL_PATTERN,
    "RobustVerdict": ROBUST,
    "Links": LINKS,
}
