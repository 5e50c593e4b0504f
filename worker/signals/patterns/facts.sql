-- What each skill did in each trace of the window, where it can matter to a pattern.
-- Traces that start later than now are among them: they count once their time has come.
-- A trace is read once, gathered by skill, for what a single step says and for whether steps of a skill can follow each
-- other; those of a skill that is used again are then read through its index. The time is in proportion to the steps
-- of a trace, however many skills share them. Extra fields are NULL without extras.
-- Source: docs/specification-notes.md#one-instant-per-refresh.
-- Source: docs/specification-notes.md#numbers-and-rounding.
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
            select
                trace_skill.*,
                max(trace_skill.uses) filter (where trace_skill.is_trace) over () as trace_steps,
                max(trace_skill.span_steps - trace_skill.uses) filter (
                    where trace_skill.is_trace
                ) over () = 0 as is_dense
            from (
                select
                    source_step.skill_id,
                    grouping(source_step.skill_id) = 1 as is_trace,
                    count(*) as uses,
                    cast(max(source_step.step_index) as bigint) - min(source_step.step_index) + 1 as span_steps,
                    max(source_step.retry_count) as most_retries,
                    max(source_step.duration_ms) as longest_ms,
                    min(source_step.duration_ms) as shortest_ms,
                    max(source_step.cost_cents) as most_cents
                from signals.source_step
                where source_step.trace_id = source_trace.trace_id
                -- The whole trace is read with its skills.
                group by grouping sets ((source_step.skill_id), ())
            ) as trace_skill
            where
                trace_skill.is_trace
                or trace_skill.uses >= least(2, cast(:loop_min_uses as integer))
                or trace_skill.most_retries > 0
                or trace_skill.longest_ms > cast(:slow_step_ms as double precision)
                or trace_skill.longest_ms >= 'Infinity'
                or trace_skill.shortest_ms = '-Infinity'
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
        and not used_skill.is_trace
        -- In a trace without a gap the numbers of two steps say whether they are neighbours.
        and not (
            used_skill.is_dense
            and used_skill.uses = 2
            and used_skill.span_steps > 2
            and cast(:loop_min_uses as integer) > 2
            and coalesce(used_skill.most_retries, 0) <= 0
            and coalesce(used_skill.longest_ms, 0) <= cast(:slow_step_ms as double precision)
            and coalesce(used_skill.longest_ms, 0) < 'Infinity'
            and coalesce(used_skill.shortest_ms, 0) > '-Infinity'
        )
),

measured_use as (
    -- One step says it all.
    select
        skill_use.*,
        0 as repeats,
        case when skill_use.most_retries > 0 then 1 else 0 end as retried_steps,
        case when skill_use.most_retries > 0 then skill_use.most_retries end as total_retries,
        case when skill_use.most_retries > 0 then skill_use.most_retries end as max_step_retries,
        case when single_step.is_slow then 1 else 0 end as slow_steps,
        case when single_step.is_slow then cast(skill_use.longest_ms as numeric) end as slow_ms,
        case
            when skill_use.longest_ms >= 'Infinity' or skill_use.longest_ms = '-Infinity' then 1 else 0
        end as non_finite_durations,
        case
            when cast(:extras as boolean) and skill_use.most_retries > 0 and skill_use.longest_ms between 0 and 1e15
                then
                    cast(skill_use.longest_ms as numeric) * skill_use.most_retries
                    / (cast(skill_use.most_retries as numeric) + 1)
        end as retry_ms,
        case
            when cast(:extras as boolean) and skill_use.most_retries > 0 and skill_use.most_cents between 0 and 1e15
                then
                    cast(skill_use.most_cents as numeric) * skill_use.most_retries
                    / (cast(skill_use.most_retries as numeric) + 1)
        end as retry_cents,
        cast(null as numeric) as later_ms,
        cast(null as numeric) as later_cents,
        cast(null as bigint) as later_after_error,
        cast(null as numeric) as repeat_ms,
        cast(null as numeric) as repeat_cents,
        cast(null as bigint) as repeats_after_error,
        cast(null as text) as outcome_low,
        cast(null as text) as outcome_high
    from skill_use
    cross join
        lateral (
            select
                skill_use.longest_ms > cast(:slow_step_ms as double precision)
                and skill_use.longest_ms < 'Infinity' as is_slow
        ) as single_step
    where skill_use.uses < least(2, cast(:loop_min_uses as integer))
    union all
    select
        skill_use.*,
        own_use.*
    from skill_use
    cross join
        lateral (
            select
                count(*) filter (where own_step.is_repeat) as repeats,
                count(own_step.retries) as retried_steps,
                sum(own_step.retries) as total_retries,
                max(own_step.retries) as max_step_retries,
                count(*) filter (where own_step.is_slow) as slow_steps,
                sum(cast(own_step.duration_ms as numeric)) filter (where own_step.is_slow) as slow_ms,
                count(*) filter (
                    where own_step.duration_ms >= 'Infinity' or own_step.duration_ms = '-Infinity'
                ) as non_finite_durations,
                -- A step with n retries was tried n + 1 times, n of them for nothing.
                sum(own_step.step_ms * own_step.retries / (cast(own_step.retries as numeric) + 1)) as retry_ms,
                sum(own_step.step_cents * own_step.retries / (cast(own_step.retries as numeric) + 1)) as retry_cents,
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
                    skill_step.duration_ms,
                    row_number() over in_order > 1 as is_later,
                    case
                        when skill_use.is_dense and skill_use.skill_id is not null
                            then lag(skill_step.step_index) over in_order = skill_step.step_index - 1
                        else (
                            select step_before.skill_id
                            from signals.source_step as step_before
                            where
                                step_before.trace_id = skill_use.trace_id
                                and step_before.step_index < skill_step.step_index
                            order by step_before.step_index desc
                            limit 1
                        ) = skill_use.skill_id
                    end as is_repeat,
                    case when skill_step.retry_count > 0 then skill_step.retry_count end as retries,
                    -- NaN sorts above infinity, so that one comparison drops both.
                    skill_step.duration_ms > cast(:slow_step_ms as double precision)
                    and skill_step.duration_ms < 'Infinity' as is_slow,
                    -- The skill's last use failed, whatever came between: an apology is no success.
                    lag(
                        skill_step.status in ('failed', 'failure', 'error', 'timeout')
                        or skill_step.outcome_category in ('FAILURE', 'ERROR', 'TIMEOUT')
                    ) over in_order as is_after_error,
                    -- Below zero, or beyond what a clock or a bill can say, is no evidence. To read a number is
                    -- dear, and nobody asks for that of a first use.
                    case
                        when
                            cast(:extras as boolean)
                            and (row_number() over in_order > 1 or skill_step.retry_count > 0)
                            and skill_step.duration_ms between 0 and 1e15
                            then cast(skill_step.duration_ms as numeric)
                    end as step_ms,
                    case
                        when
                            cast(:extras as boolean)
                            and (row_number() over in_order > 1 or skill_step.retry_count > 0)
                            and skill_step.cost_cents between 0 and 1e15
                            then cast(skill_step.cost_cents as numeric)
                    end as step_cents,
                    coalesce(skill_step.status, '') || '/' || coalesce(skill_step.outcome_code, '') as outcome
                from (
                    select source_step.*
                    from signals.source_step
                    where
                        source_step.trace_id = skill_use.trace_id
                        and source_step.skill_id = skill_use.skill_id
                    union all
                    select source_step.*
                    from signals.source_step
                    where
                        source_step.trace_id = skill_use.trace_id
                        and source_step.skill_id is null
                        and skill_use.skill_id is null
                ) as skill_step
                window in_order as (order by skill_step.step_index)
            ) as own_step
        ) as own_use
    where skill_use.uses >= least(2, cast(:loop_min_uses as integer))
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
                    -- Every skill of a sequence that comes three times is used three times, and there are two of them.
                    select skill_use.trace_id
                    from skill_use
                    where cast(:extras as boolean) and skill_use.uses >= 3 and skill_use.skill_id is not null
                    group by skill_use.trace_id
                    having count(*) > 1
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
    measured_use.tenant_id,
    measured_use.run_id,
    measured_use.trace_id,
    measured_use.skill_id,
    measured_use.started_at,
    measured_use.uses,
    measured_use.repeats,
    measured_use.retried_steps,
    measured_use.total_retries,
    measured_use.max_step_retries,
    measured_use.slow_steps,
    measured_use.slow_ms,
    measured_use.non_finite_durations,
    case when cast(:extras as boolean) then measured_use.trace_steps end as trace_steps,
    case when shown_use.is_shown then measured_use.span_steps end as span_steps,
    case when shown_use.is_shown then measured_use.later_ms end as later_ms,
    case when shown_use.is_shown then measured_use.later_cents end as later_cents,
    case when shown_use.is_shown then measured_use.later_after_error end as later_after_error,
    case when shown_use.is_shown then measured_use.repeat_ms end as repeat_ms,
    case when shown_use.is_shown then measured_use.repeat_cents end as repeat_cents,
    case when shown_use.is_shown then measured_use.repeats_after_error end as repeats_after_error,
    measured_use.retry_ms,
    measured_use.retry_cents,
    case when shown_use.is_shown then measured_use.outcome_low end as outcome_low,
    case when shown_use.is_shown then measured_use.outcome_high end as outcome_high,
    skill_cycle.cycle_period,
    skill_cycle.cycle_repeats,
    skill_cycle.cycle_skills
from measured_use
cross join
    lateral (
        select
            cast(:extras as boolean)
            and (measured_use.uses >= cast(:loop_min_uses as integer) or measured_use.repeats > 0) as is_shown
    ) as shown_use
left join skill_cycle
    on skill_cycle.trace_id = measured_use.trace_id and skill_cycle.skill_id = measured_use.skill_id
where
    measured_use.uses >= cast(:loop_min_uses as integer)
    or measured_use.repeats > 0
    or measured_use.retried_steps > 0
    or measured_use.slow_steps > 0
    or measured_use.non_finite_durations > 0
