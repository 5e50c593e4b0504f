-- What each skill did in each trace of the window, where it can matter to a pattern; a trace is read in index order.
-- Traces that start later than now are among them: they count once their time has come (R2).
-- What the patterns say beside the definition rests on the columns from trace_steps on (R17); without extras they are
-- NULL. What they need of a skill's steps is read through its index, and only where the skill comes again: the time is
-- in proportion to the steps of a trace, however many skills share them.
-- reads: signals.source_trace, signals.source_step, pg_temp.stage_dirty_trace
-- grain: trace and skill, sparse
-- params: window_start, tenants, excluded, shards, shard, only_changed, exclude_synthetic, loop_min_uses, slow_step_ms,
--     extras, cycle_max_steps
with skill_use as (
    select
        source_trace.tenant_id,
        source_trace.run_id,
        source_trace.trace_id,
        source_trace.started_at,
        used_skill.*
    from signals.source_trace
    cross join
        lateral (
            select trace_skill.*
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
                    -- A step with n retries was tried n + 1 times, n of them for nothing.
                    sum(
                        trace_step.retried_ms * trace_step.retries / (cast(trace_step.retries as numeric) + 1)
                    ) as retry_ms,
                    sum(
                        trace_step.retried_cents * trace_step.retries / (cast(trace_step.retries as numeric) + 1)
                    ) as retry_cents
                from (
                    select
                        source_step.skill_id,
                        source_step.skill_id = lag(source_step.skill_id) over (
                            order by source_step.step_index
                        ) as is_repeat,
                        case when source_step.retry_count > 0 then source_step.retry_count end as retries,
                        -- NaN sorts above infinity, so that one comparison drops both.
                        case
                            when
                                source_step.duration_ms > cast(:slow_step_ms as double precision)
                                and source_step.duration_ms < 'Infinity'
                                then source_step.duration_ms
                        end as slow_ms,
                        source_step.duration_ms >= 'Infinity' or source_step.duration_ms = '-Infinity' as is_non_finite,
                        -- Below zero, or beyond what a clock or a bill can say, is no evidence (R4a).
                        case
                            when
                                source_step.retry_count > 0
                                and cast(:extras as boolean)
                                and source_step.duration_ms between 0 and 1e15
                                then cast(source_step.duration_ms as numeric)
                        end as retried_ms,
                        case
                            when
                                source_step.retry_count > 0
                                and cast(:extras as boolean)
                                and source_step.cost_cents between 0 and 1e15
                                then cast(source_step.cost_cents as numeric)
                        end as retried_cents
                    from signals.source_step
                    where source_step.trace_id = source_trace.trace_id
                ) as trace_step
                group by trace_step.skill_id
            ) as trace_skill
            where
                trace_skill.uses >= cast(:loop_min_uses as integer)
                or trace_skill.repeats > 0
                or trace_skill.retried_steps > 0
                or trace_skill.slow_steps > 0
                or trace_skill.non_finite_durations > 0
        ) as used_skill
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
),

trace_length as (
    select
        found_trace.trace_id,
        counted.trace_steps
    from (
        select distinct skill_use.trace_id from skill_use
        where cast(:extras as boolean)
    ) as found_trace
    cross join
        lateral (
            select count(*) as trace_steps
            from signals.source_step
            where source_step.trace_id = found_trace.trace_id
        ) as counted
),

-- The longest sequence of 2 to 5 steps with the skill in it that comes at least three times in a row.
skill_cycle as (
    select distinct on (stretch.trace_id, cycle_skill.skill_id)
        stretch.trace_id,
        cycle_skill.skill_id,
        stretch.period as cycle_period,
        (stretch.matches + stretch.period) / stretch.period as cycle_repeats,
        stretch.skills as cycle_skills
    from (
        select
            compared_step.trace_id,
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
                    partition by shifted_step.trace_id, shifted_step.period
                    order by shifted_step.step_index
                ) as stretch_number
            from (
                select
                    found_trace.trace_id,
                    shift.period,
                    read_step.step_index,
                    read_step.skill_id,
                    read_step.skill_id = lag(read_step.skill_id, shift.period) over (
                        partition by found_trace.trace_id, shift.period
                        order by read_step.step_index
                    ) as is_match
                from (
                    -- Every skill of a sequence that comes three times is used three times, and where that is
                    -- enough to be kept, two of them are here.
                    select skill_use.trace_id
                    from skill_use
                    where cast(:extras as boolean) and skill_use.uses >= 3 and skill_use.skill_id is not null
                    group by skill_use.trace_id
                    having count(*) > 1 or cast(:loop_min_uses as integer) > 3
                ) as found_trace
                cross join
                    lateral (
                        select
                            source_step.step_index,
                            source_step.skill_id
                        from signals.source_step
                        where source_step.trace_id = found_trace.trace_id
                        order by source_step.step_index
                        limit cast(:cycle_max_steps as integer)
                    ) as read_step
                cross join (values (2), (3), (4), (5)) as shift (period)
            ) as shifted_step
        ) as compared_step
        where compared_step.is_match
        group by compared_step.trace_id, compared_step.period, compared_step.stretch_number
        having
            count(*) >= 2 * compared_step.period
            -- One skill again and again is no sequence.
            and min(compared_step.skill_id) <> max(compared_step.skill_id)
    ) as stretch
    cross join unnest(stretch.skills) as cycle_skill (skill_id)
    -- Of ABABAB and ABAB ABAB, which say the same, the shorter one.
    order by
        stretch.trace_id asc,
        cycle_skill.skill_id asc,
        stretch.matches + stretch.period desc,
        stretch.period asc,
        stretch.first_match asc
)

select
    skill_use.tenant_id,
    skill_use.run_id,
    skill_use.trace_id,
    skill_use.skill_id,
    skill_use.started_at,
    skill_use.uses,
    skill_use.repeats,
    skill_use.retried_steps,
    skill_use.total_retries,
    skill_use.max_step_retries,
    skill_use.slow_steps,
    skill_use.slow_ms,
    skill_use.non_finite_durations,
    trace_length.trace_steps,
    repeated_use.span_steps,
    repeated_use.later_ms,
    repeated_use.later_cents,
    repeated_use.later_after_error,
    repeated_use.repeat_ms,
    repeated_use.repeat_cents,
    repeated_use.repeats_after_error,
    skill_use.retry_ms,
    skill_use.retry_cents,
    repeated_use.outcome_low,
    repeated_use.outcome_high,
    skill_cycle.cycle_period,
    skill_cycle.cycle_repeats,
    skill_cycle.cycle_skills
from skill_use
left join trace_length on trace_length.trace_id = skill_use.trace_id
left join
    lateral (
        select
            cast(max(own_step.step_index) as bigint) - min(own_step.step_index) + 1 as span_steps,
            sum(own_step.step_ms) filter (where own_step.is_later) as later_ms,
            sum(own_step.step_cents) filter (where own_step.is_later) as later_cents,
            count(*) filter (where own_step.is_later and own_step.is_after_error) as later_after_error,
            sum(own_step.step_ms) filter (where own_step.is_repeat) as repeat_ms,
            sum(own_step.step_cents) filter (where own_step.is_repeat) as repeat_cents,
            count(*) filter (where own_step.is_repeat and own_step.is_after_error) as repeats_after_error,
            min(own_step.outcome collate "C") as outcome_low,
            max(own_step.outcome collate "C") as outcome_high
        from (
            select
                skill_step.step_index,
                row_number() over in_order > 1 as is_later,
                (
                    select step_before.skill_id
                    from signals.source_step as step_before
                    where
                        step_before.trace_id = skill_use.trace_id
                        and step_before.step_index < skill_step.step_index
                    order by step_before.step_index desc
                    limit 1
                ) = skill_use.skill_id as is_repeat,
                -- The skill's last use failed, whatever came between: an apology is no success.
                lag(
                    skill_step.status in ('failed', 'failure', 'error', 'timeout')
                    or skill_step.outcome_category in ('FAILURE', 'ERROR', 'TIMEOUT')
                ) over in_order as is_after_error,
                case
                    when skill_step.duration_ms between 0 and 1e15 then cast(skill_step.duration_ms as numeric)
                end as step_ms,
                case
                    when skill_step.cost_cents between 0 and 1e15 then cast(skill_step.cost_cents as numeric)
                end as step_cents,
                coalesce(skill_step.status, '') || '/' || coalesce(skill_step.outcome_code, '') as outcome
            from (
                select source_step.*
                from signals.source_step
                where
                    source_step.trace_id = skill_use.trace_id
                    and source_step.skill_id = skill_use.skill_id
                    and cast(:extras as boolean)
                    and (skill_use.uses >= cast(:loop_min_uses as integer) or skill_use.repeats > 0)
                union all
                select source_step.*
                from signals.source_step
                where
                    source_step.trace_id = skill_use.trace_id
                    and source_step.skill_id is null
                    and skill_use.skill_id is null
                    and cast(:extras as boolean)
                    and skill_use.uses >= cast(:loop_min_uses as integer)
            ) as skill_step
            window in_order as (order by skill_step.step_index)
        ) as own_step
        having count(*) > 0
    ) as repeated_use
    on true
left join skill_cycle
    on skill_cycle.trace_id = skill_use.trace_id and skill_cycle.skill_id = skill_use.skill_id
