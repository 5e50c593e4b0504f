-- What each skill did in each trace of the window, where it can matter to a pattern; a trace is read in index order.
-- Traces that start later than now are among them: they count once their time has come (R2).
-- What the patterns say beside the definition rests on the columns from trace_steps on (R17); without extras they are
-- NULL, and cost nothing.
-- reads: signals.source_trace, signals.source_step, pg_temp.stage_dirty_trace
-- grain: trace and skill, sparse
-- params: window_start, tenants, excluded, shards, shard, only_changed, exclude_synthetic, loop_min_uses, slow_step_ms,
--     extras, cycle_max_steps
select
    source_trace.tenant_id,
    source_trace.run_id,
    source_trace.trace_id,
    skill_use.skill_id,
    source_trace.started_at,
    skill_use.uses,
    skill_use.repeats,
    skill_use.retried_steps,
    skill_use.total_retries,
    skill_use.max_step_retries,
    skill_use.slow_steps,
    skill_use.slow_ms,
    skill_use.non_finite_durations,
    skill_use.trace_steps,
    skill_use.span_steps,
    skill_use.later_ms,
    skill_use.later_cents,
    skill_use.later_after_error,
    skill_use.repeat_ms,
    skill_use.repeat_cents,
    skill_use.repeats_after_error,
    skill_use.retry_ms,
    skill_use.retry_cents,
    skill_use.outcome_low,
    skill_use.outcome_high,
    cycle.cycle_period,
    cycle.cycle_repeats,
    cycle.cycle_skills
from signals.source_trace
cross join
    lateral (
        select
            trace_skill.*,
            -- Every skill of a sequence that comes three times is used three times.
            trace_skill.uses >= 3 and trace_skill.frequent_skills > 1 as is_in_cycle
        from (
            select
                trace_step.skill_id,
                count(*) as uses,
                count(*) filter (where trace_step.is_repeat) as repeats,
                count(trace_step.retries) as retried_steps,
                sum(trace_step.retries) as total_retries,
                max(trace_step.retries) as max_step_retries,
                count(trace_step.slow_ms) as slow_steps,
                sum(cast(trace_step.slow_ms as numeric)) as slow_ms,
                count(*) filter (where trace_step.is_non_finite) as non_finite_durations,
                case
                    when cast(:extras as boolean) then cast(sum(count(*)) over () as bigint)
                end as trace_steps,
                case
                    when cast(:extras as boolean)
                        then cast(max(trace_step.step_index) as bigint) - min(trace_step.step_index) + 1
                end as span_steps,
                case
                    when cast(:extras as boolean) then sum(trace_step.step_ms) filter (where trace_step.is_later)
                end as later_ms,
                case
                    when cast(:extras as boolean) then sum(trace_step.step_cents) filter (where trace_step.is_later)
                end as later_cents,
                case
                    when cast(:extras as boolean)
                        then count(*) filter (where trace_step.is_later and trace_step.is_after_error)
                end as later_after_error,
                case
                    when cast(:extras as boolean) then sum(trace_step.step_ms) filter (where trace_step.is_repeat)
                end as repeat_ms,
                case
                    when cast(:extras as boolean) then sum(trace_step.step_cents) filter (where trace_step.is_repeat)
                end as repeat_cents,
                case
                    when cast(:extras as boolean)
                        then count(*) filter (where trace_step.is_repeat and trace_step.is_after_error)
                end as repeats_after_error,
                -- A step with n retries was tried n + 1 times, n of them for nothing.
                case
                    when cast(:extras as boolean)
                        then sum(trace_step.step_ms * trace_step.retries / (cast(trace_step.retries as numeric) + 1))
                end as retry_ms,
                case
                    when cast(:extras as boolean)
                        then sum(trace_step.step_cents * trace_step.retries / (cast(trace_step.retries as numeric) + 1))
                end as retry_cents,
                case when cast(:extras as boolean) then min(trace_step.outcome collate "C") end as outcome_low,
                case when cast(:extras as boolean) then max(trace_step.outcome collate "C") end as outcome_high,
                case
                    when cast(:extras as boolean)
                        then sum(cast(count(*) >= 3 and trace_step.skill_id is not null as integer)) over ()
                end as frequent_skills
            from (
                select
                    source_step.skill_id,
                    source_step.step_index,
                    source_step.skill_id = lag(source_step.skill_id) over in_order as is_repeat,
                    case when source_step.retry_count > 0 then source_step.retry_count end as retries,
                    -- NaN sorts above infinity, so that one comparison drops both.
                    case
                        when
                            source_step.duration_ms > cast(:slow_step_ms as double precision)
                            and source_step.duration_ms < 'Infinity'
                            then source_step.duration_ms
                    end as slow_ms,
                    source_step.duration_ms >= 'Infinity' or source_step.duration_ms = '-Infinity' as is_non_finite,
                    case when cast(:extras as boolean) then row_number() over by_skill > 1 end as is_later,
                    -- The skill's last use failed, whatever came between: an apology is no success.
                    case
                        when cast(:extras as boolean)
                            then lag(
                                source_step.status in ('failed', 'failure', 'error', 'timeout')
                                or source_step.outcome_category in ('FAILURE', 'ERROR', 'TIMEOUT')
                            ) over by_skill
                    end as is_after_error,
                    -- Below zero, or beyond what a clock or a bill can say, is no evidence (R4a).
                    case
                        when source_step.duration_ms between 0 and 1e15 then cast(source_step.duration_ms as numeric)
                    end as step_ms,
                    case
                        when source_step.cost_cents between 0 and 1e15 then cast(source_step.cost_cents as numeric)
                    end as step_cents,
                    coalesce(source_step.status, '') || '/' || coalesce(source_step.outcome_code, '') as outcome
                from signals.source_step
                where source_step.trace_id = source_trace.trace_id
                window
                    in_order as (order by source_step.step_index),
                    by_skill as (partition by source_step.skill_id order by source_step.step_index)
            ) as trace_step
            group by trace_step.skill_id
        ) as trace_skill
        where
            trace_skill.uses >= cast(:loop_min_uses as integer)
            or trace_skill.repeats > 0
            or trace_skill.retried_steps > 0
            or trace_skill.slow_steps > 0
            or trace_skill.non_finite_durations > 0
    ) as skill_use
left join
    lateral (
        -- The longest sequence of 2 to 5 steps with this skill in it that comes at least three times in a row.
        select
            stretch.period as cycle_period,
            (stretch.matches + stretch.period) / stretch.period as cycle_repeats,
            stretch.skills as cycle_skills
        from (
            select
                compared_step.period,
                count(*) as matches,
                min(compared_step.step_index) as first_match,
                (array_agg(compared_step.skill_id order by compared_step.step_index))[
                    1:(compared_step.period)
                ] as skills
            from (
                select
                    shifted_step.*,
                    -- Steps that equal the one a period before are of one stretch until one does not.
                    count(*) filter (where shifted_step.is_match is not true) over (
                        partition by shifted_step.period
                        order by shifted_step.step_index
                    ) as stretch_number
                from (
                    select
                        shift.period,
                        read_step.step_index,
                        read_step.skill_id,
                        read_step.skill_id = lag(read_step.skill_id, shift.period) over (
                            partition by shift.period
                            order by read_step.step_index
                        ) as is_match
                    from (
                        select
                            source_step.step_index,
                            source_step.skill_id
                        from signals.source_step
                        where source_step.trace_id = source_trace.trace_id and skill_use.is_in_cycle
                        order by source_step.step_index
                        limit cast(:cycle_max_steps as integer)
                    ) as read_step
                    cross join (values (2), (3), (4), (5)) as shift (period)
                ) as shifted_step
            ) as compared_step
            where compared_step.is_match
            group by compared_step.period, compared_step.stretch_number
            having
                count(*) >= 2 * compared_step.period
                -- One skill again and again is no sequence.
                and min(compared_step.skill_id) <> max(compared_step.skill_id)
                and bool_or(compared_step.skill_id = skill_use.skill_id)
        ) as stretch
        -- Of ABABAB and ABAB ABAB, which say the same, the shorter one.
        order by stretch.matches + stretch.period desc, stretch.period asc, stretch.first_match asc
        limit 1
    ) as cycle
    on true
where
    source_trace.started_at >= cast(:window_start as timestamptz)
    and source_trace.tenant_id <> ''
    and (cast(:tenants as text[]) is null or source_trace.tenant_id = any(cast(:tenants as text[])))
    and source_trace.tenant_id <> all(cast(:excluded as text[]))
    and (
        cast(:shards as integer) = 1
        or signals.slot_of(source_trace.tenant_id) % cast(:shards as integer) = cast(:shard as integer)
    )
    and (
        not cast(:only_changed as boolean)
        or source_trace.trace_id = any(array(select dirty.trace_id from pg_temp.stage_dirty_trace as dirty))
    )
    and not (cast(:exclude_synthetic as boolean) and source_trace.is_synthetic)
