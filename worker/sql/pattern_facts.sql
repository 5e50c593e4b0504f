-- What each skill did in each trace of the window, where it can matter to a pattern; a trace is read in index order.
-- Traces that start later than now are among them: they count once their time has come (R2).
-- reads: signals.source_trace, signals.source_step, pg_temp.stage_dirty_trace
-- grain: trace and skill, sparse
-- params: window_start, tenants, excluded, shards, shard, only_changed, exclude_synthetic, loop_min_uses, slow_step_ms
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
    skill_use.non_finite_durations
from signals.source_trace
cross join
    lateral (
        select
            trace_step.skill_id,
            count(*) as uses,
            count(*) filter (where trace_step.is_repeat) as repeats,
            count(trace_step.retries) as retried_steps,
            sum(trace_step.retries) as total_retries,
            max(trace_step.retries) as max_step_retries,
            count(trace_step.slow_ms) as slow_steps,
            sum(cast(trace_step.slow_ms as numeric)) as slow_ms,
            count(*) filter (where trace_step.is_non_finite) as non_finite_durations
        from (
            select
                source_step.skill_id,
                source_step.skill_id = lag(source_step.skill_id) over (order by source_step.step_index) as is_repeat,
                case when source_step.retry_count > 0 then source_step.retry_count end as retries,
                -- NaN sorts above infinity, so that one comparison drops both.
                case
                    when
                        source_step.duration_ms > cast(:slow_step_ms as double precision)
                        and source_step.duration_ms < 'Infinity'
                        then source_step.duration_ms
                end as slow_ms,
                source_step.duration_ms >= 'Infinity' or source_step.duration_ms = '-Infinity' as is_non_finite
            from signals.source_step
            where source_step.trace_id = source_trace.trace_id
        ) as trace_step
        group by trace_step.skill_id
        having
            count(*) >= cast(:loop_min_uses as integer)
            or count(*) filter (where trace_step.is_repeat) > 0
            or count(trace_step.retries) > 0
            or count(trace_step.slow_ms) > 0
            or count(*) filter (where trace_step.is_non_finite) > 0
    ) as skill_use
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
