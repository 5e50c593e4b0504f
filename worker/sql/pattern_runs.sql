-- What each run of the window shows of each pattern: retry loops, repetitions, tool-call loops, timeout cascades (R16).
-- reads: pg_temp.stage_trace_fact
-- grain: tenant, pattern, run and, for two of the patterns, skill
-- params: as_of, window_start, retry_min_total, oscillation_min_pairs, loop_min_uses, loop_window_steps,
--     cascade_min_steps
with window_fact as (
    select *
    from pg_temp.stage_trace_fact
    where started_at >= cast(:window_start as timestamptz) and started_at <= cast(:as_of as timestamptz)
),

run_fact as (
    select
        tenant_id,
        run_id,
        cast(sum(retried_steps) as bigint) as retry_count,
        max(max_step_retries) as max_step_retries,
        cast(sum(total_retries) as bigint) as total_retries,
        cast(sum(slow_steps) as bigint) as slow_step_count,
        sum(slow_ms) as slow_ms
    from window_fact
    where retried_steps > 0 or slow_steps > 0
    group by tenant_id, run_id
),

run_skill_fact as (
    select
        tenant_id,
        run_id,
        skill_id,
        cast(sum(repeats) as bigint) as oscillation_count,
        -- Uses among a step and the four before it, at most as many as there are (R16).
        max(least(uses, cast(:loop_window_steps as bigint))) filter (
            where uses >= cast(:loop_min_uses as integer)
        ) as loop_depth
    from window_fact
    where uses >= cast(:loop_min_uses as integer) or repeats > 0
    group by tenant_id, run_id, skill_id
),

found_pattern as (
    select
        tenant_id,
        'retry_loop' as pattern_type,
        run_id,
        cast(null as text) as skill_id,
        retry_count as strength,
        retry_count,
        max_step_retries,
        total_retries,
        cast(null as bigint) as slow_step_count,
        cast(null as numeric) as avg_duration_ms
    from run_fact
    where total_retries >= cast(:retry_min_total as bigint)
    union all
    select
        tenant_id,
        'step_oscillation',
        run_id,
        skill_id,
        oscillation_count,
        null,
        null,
        null,
        null,
        null
    from run_skill_fact
    where oscillation_count >= cast(:oscillation_min_pairs as bigint) and skill_id is not null
    union all
    select
        tenant_id,
        'tool_call_loop',
        run_id,
        skill_id,
        loop_depth,
        null,
        null,
        null,
        null,
        null
    from run_skill_fact
    where loop_depth is not null
    union all
    select
        tenant_id,
        'timeout_cascade',
        run_id,
        null,
        slow_step_count as strength,
        null,
        null,
        null,
        slow_step_count,
        slow_ms / slow_step_count
    from run_fact
    where slow_step_count >= cast(:cascade_min_steps as bigint)
    union all
    -- No pattern: what the content says of its data's quality (R4a).
    select
        tenant_id,
        'non_finite_durations',
        run_id,
        null,
        cast(sum(non_finite_durations) as bigint) as strength,
        null,
        null,
        null,
        null,
        null
    from window_fact
    where non_finite_durations > 0
    group by tenant_id, run_id
)

select
    tenant_id,
    pattern_type,
    strength,
    run_id,
    skill_id,
    retry_count,
    max_step_retries,
    total_retries,
    slow_step_count,
    avg_duration_ms
from found_pattern
