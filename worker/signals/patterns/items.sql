-- The strongest rows of each pattern.
-- Source: docs/specification-notes.md#pattern-window-and-thresholds.
-- reads: pg_temp.stage_run_pattern
-- grain: tenant, pattern and rank
-- params: pattern_rows
with ranked_pattern as (
    select
        *,
        row_number() over (
            partition by tenant_id, pattern_type
            order by strength desc, run_id collate "C", skill_id collate "C"
        ) as rank
    from pg_temp.stage_run_pattern
    where pattern_type <> 'non_finite_durations'
)

select
    tenant_id,
    pattern_type,
    rank,
    run_id,
    skill_id,
    retry_count,
    max_step_retries,
    total_retries,
    case when pattern_type = 'step_oscillation' then strength end as oscillation_count,
    case when pattern_type = 'tool_call_loop' then strength end as loop_depth,
    slow_step_count,
    avg_duration_ms,
    cycle_period,
    cycle_repeats,
    cycle_skills,
    density,
    outcome_stable,
    after_error,
    wasted_ms,
    wasted_cost_usd,
    share_of_run
from ranked_pattern
where rank <= cast(:pattern_rows as integer)
