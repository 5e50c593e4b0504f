-- The rows that can be in a changed tenant's answer, each pattern's strongest first, out of the rows that are kept.
-- reads: signals.run_pattern, pg_temp.stage_tenant
-- grain: tenant, pattern, run and, for two of the patterns, skill
-- params: pattern_rows
select
    strongest.tenant_id,
    strongest.pattern_type,
    strongest.strength,
    strongest.run_id,
    strongest.skill_id,
    strongest.retry_count,
    strongest.max_step_retries,
    strongest.total_retries,
    strongest.slow_step_count,
    strongest.avg_duration_ms,
    strongest.cycle_period,
    strongest.cycle_repeats,
    strongest.cycle_skills,
    strongest.density,
    strongest.outcome_stable,
    strongest.after_error,
    strongest.wasted_ms,
    strongest.wasted_cost_usd,
    strongest.share_of_run
from (select distinct tenant_id from pg_temp.stage_tenant) as changed
cross join
    (
        values ('retry_loop'), ('step_oscillation'), ('tool_call_loop'), ('timeout_cascade')
    ) as pattern (pattern_type)
cross join
    lateral (
        select run_pattern.*
        from signals.run_pattern
        where run_pattern.tenant_id = changed.tenant_id and run_pattern.pattern_type = pattern.pattern_type
        order by run_pattern.strength desc, run_pattern.run_id asc, run_pattern.skill_id asc
        limit cast(:pattern_rows as integer)
    ) as strongest
union all
select
    run_pattern.tenant_id,
    run_pattern.pattern_type,
    run_pattern.strength,
    run_pattern.run_id,
    run_pattern.skill_id,
    run_pattern.retry_count,
    run_pattern.max_step_retries,
    run_pattern.total_retries,
    run_pattern.slow_step_count,
    run_pattern.avg_duration_ms,
    run_pattern.cycle_period,
    run_pattern.cycle_repeats,
    run_pattern.cycle_skills,
    run_pattern.density,
    run_pattern.outcome_stable,
    run_pattern.after_error,
    run_pattern.wasted_ms,
    run_pattern.wasted_cost_usd,
    run_pattern.share_of_run
from signals.run_pattern
where
    run_pattern.pattern_type = 'non_finite_durations'
    and run_pattern.tenant_id = any(array(select changed.tenant_id from pg_temp.stage_tenant as changed))
