-- What each run of the window shows of each pattern: retry loops, repetitions, tool-call loops, timeout cascades.
-- Source: docs/specification-notes.md#what-the-pattern-rules-find.
-- Source: docs/specification-notes.md#numbers-and-rounding.
-- reads: pg_temp.stage_trace_fact
-- grain: tenant, pattern, run and, for two of the patterns, skill
-- params: as_of, window_start, retry_min_total, oscillation_min_pairs, loop_min_uses, loop_window_steps,
--     cascade_min_steps, extras
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
        sum(slow_ms) as slow_ms,
        sum(retry_ms) as retry_ms,
        sum(retry_cents) as retry_cents
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
        -- Uses among a step and the four before it, at most as many as there are.
        max(least(uses, cast(:loop_window_steps as bigint))) filter (
            where uses >= cast(:loop_min_uses as integer)
        ) as loop_depth,
        cast(sum(uses) as numeric) / sum(span_steps) as density,
        case
            -- Where nobody wrote an outcome, nothing is known of it.
            when min(outcome_low) <> '/' or max(outcome_high) <> '/' then min(outcome_low) = max(outcome_high)
        end as outcome_stable,
        sum(uses - 1) filter (where uses >= cast(:loop_min_uses as integer)) as later_steps,
        sum(later_after_error) filter (where uses >= cast(:loop_min_uses as integer)) as later_after_error,
        sum(later_ms) filter (where uses >= cast(:loop_min_uses as integer)) as later_ms,
        sum(later_cents) filter (where uses >= cast(:loop_min_uses as integer)) as later_cents,
        sum(repeats_after_error) as repeats_after_error,
        sum(repeat_ms) as repeat_ms,
        sum(repeat_cents) as repeat_cents
    from window_fact
    where uses >= cast(:loop_min_uses as integer) or repeats > 0
    group by tenant_id, run_id, skill_id
),

-- The steps of the run, in the traces of which something is kept.
run_length as (
    select
        tenant_id,
        run_id,
        sum(trace_steps) as run_steps
    from (
        select distinct
            tenant_id,
            run_id,
            trace_id,
            trace_steps
        from window_fact
        where cast(:extras as boolean)
    ) as found_trace
    group by tenant_id, run_id
),

skill_cycle as (
    select distinct on (tenant_id, run_id, skill_id)
        tenant_id,
        run_id,
        skill_id,
        cycle_period,
        cycle_repeats,
        cycle_skills
    from window_fact
    where cycle_period is not null
    order by
        tenant_id asc, run_id asc, skill_id asc, cycle_period * cycle_repeats desc, cycle_period asc, cycle_skills asc
),

run_cycle as (
    select distinct on (tenant_id, run_id)
        tenant_id,
        run_id,
        cycle_period,
        cycle_repeats,
        cycle_skills
    from skill_cycle
    order by tenant_id asc, run_id asc, cycle_period * cycle_repeats desc, cycle_period asc, cycle_skills asc
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
        cast(null as numeric) as avg_duration_ms,
        cast(null as numeric) as density,
        cast(null as boolean) as outcome_stable,
        cast(null as boolean) as after_error,
        retry_ms as wasted_ms,
        retry_cents as wasted_cents,
        -- Each retry is a step that was taken again.
        cast(total_retries as numeric) as wasted_steps
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
        null,
        density,
        outcome_stable,
        case when outcome_stable is not null then 2 * repeats_after_error >= oscillation_count end,
        repeat_ms,
        repeat_cents,
        cast(oscillation_count as numeric)
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
        null,
        density,
        outcome_stable,
        case when outcome_stable is not null then 2 * later_after_error >= later_steps end,
        later_ms,
        later_cents,
        later_steps
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
        slow_ms / slow_step_count,
        null,
        null,
        null,
        -- Slow steps repeat nothing.
        null,
        null,
        null
    from run_fact
    where slow_step_count >= cast(:cascade_min_steps as bigint)
    union all
    -- No pattern: what the content says of its data's quality.
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
        null,
        null,
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
    found_pattern.tenant_id,
    found_pattern.pattern_type,
    found_pattern.strength,
    found_pattern.run_id,
    found_pattern.skill_id,
    found_pattern.retry_count,
    found_pattern.max_step_retries,
    found_pattern.total_retries,
    found_pattern.slow_step_count,
    found_pattern.avg_duration_ms,
    coalesce(skill_cycle.cycle_period, run_cycle.cycle_period) as cycle_period,
    coalesce(skill_cycle.cycle_repeats, run_cycle.cycle_repeats) as cycle_repeats,
    coalesce(skill_cycle.cycle_skills, run_cycle.cycle_skills) as cycle_skills,
    found_pattern.density,
    found_pattern.outcome_stable,
    found_pattern.after_error,
    found_pattern.wasted_ms,
    found_pattern.wasted_cents / 100 as wasted_cost_usd,
    found_pattern.wasted_steps
    / case
        when found_pattern.pattern_type = 'retry_loop' then run_length.run_steps + found_pattern.wasted_steps
        else run_length.run_steps
    end as share_of_run
from found_pattern
left join run_length
    on run_length.tenant_id = found_pattern.tenant_id and run_length.run_id = found_pattern.run_id
left join skill_cycle
    on
        skill_cycle.tenant_id = found_pattern.tenant_id
        and skill_cycle.run_id = found_pattern.run_id
        and skill_cycle.skill_id = found_pattern.skill_id
-- What goes by the whole run says the longest of the run.
left join run_cycle
    on
        found_pattern.pattern_type in ('retry_loop', 'timeout_cascade')
        and run_cycle.tenant_id = found_pattern.tenant_id
        and run_cycle.run_id = found_pattern.run_id
