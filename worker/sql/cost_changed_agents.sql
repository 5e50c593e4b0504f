-- What cost_agents finds, for the agents alone that are marked: each is read by itself, through the index of its runs.
-- reads: signals.source_run, pg_temp.stage_dirty_agent
-- grain: tenant and agent with a run in the current day, or with a cost that is not finite; with extras, an agent that
--     fell silent too
-- params: as_of, current_start, baseline_start, excluded, exclude_synthetic, extras, robust_min_baseline, robust_score,
--     robust_min_ratio, min_effect_usd, spike_rows
select
    changed.tenant_id,
    changed.agent_id,
    current_day.current_avg_cost,
    current_day.total_cost,
    current_day.run_count,
    baseline.baseline_avg,
    baseline.baseline_p95,
    baseline.baseline_stddev,
    baseline.baseline_run_count,
    current_day.non_finite_costs + baseline.non_finite_costs as non_finite_costs,
    baseline.priced as baseline_priced,
    current_day.priced as current_priced,
    baseline.log_median as baseline_log_median,
    spread.log_mad as baseline_log_mad,
    spread_of_mean.log_mean_ad as baseline_log_mean_ad,
    current_day.log_median as current_log_median,
    baseline.baseline_total,
    baseline.baseline_days,
    baseline.baseline_last_at,
    spike.run_ids as spike_run_ids,
    spike.costs as spike_costs
from (select distinct
    tenant_id,
    agent_id
from pg_temp.stage_dirty_agent
where tenant_id <> all(cast(:excluded as text[]))) as changed
cross join
    lateral (
        select
            avg(cast(estimated_cost_usd as numeric)) filter (where is_finite) as current_avg_cost,
            sum(cast(estimated_cost_usd as numeric)) filter (where is_finite) as total_cost,
            count(*) filter (where is_finite) as run_count,
            count(*) filter (where not is_finite) as non_finite_costs,
            case when cast(:extras as boolean) then count(*) filter (where cost > 0) end as priced,
            case
                when cast(:extras as boolean)
                    then percentile_cont(0.5) within group (order by ln(cost)) filter (where cost > 0)
            end as log_median,
            case when cast(:extras as boolean) then max(cost) end as highest
        from (
            select
                judged_run.*,
                -- Once for all aggregates that want a double.
                case when judged_run.is_finite then cast(judged_run.estimated_cost_usd as double precision) end as cost
            from (
                select
                    agent_run.estimated_cost_usd,
                    agent_run.estimated_cost_usd between -1e150 and 1e150 as is_finite
                from (
                    select
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = changed.tenant_id
                        and agent_id = changed.agent_id
                        and completed_at >= cast(:current_start as timestamptz)
                        and started_at >= cast(:current_start as timestamptz)
                        and started_at <= cast(:as_of as timestamptz)
                        and estimated_cost_usd is not null
                    union all
                    select
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = changed.tenant_id
                        and agent_id = changed.agent_id
                        and completed_at is null
                        and started_at >= cast(:current_start as timestamptz)
                        and started_at <= cast(:as_of as timestamptz)
                        and estimated_cost_usd is not null
                    union all
                    -- What ended before it began is found through an index of its own, which is all but empty.
                    select
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = changed.tenant_id
                        and agent_id = changed.agent_id
                        and completed_at < started_at
                        and completed_at < cast(:current_start as timestamptz)
                        and started_at >= cast(:current_start as timestamptz)
                        and started_at <= cast(:as_of as timestamptz)
                        and estimated_cost_usd is not null
                    union all
                    -- The runs of no agent are in the group of the agent `unknown` (R10).
                    select
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        changed.agent_id = 'unknown'
                        and tenant_id = changed.tenant_id
                        and agent_id is null
                        and completed_at >= cast(:current_start as timestamptz)
                        and started_at >= cast(:current_start as timestamptz)
                        and started_at <= cast(:as_of as timestamptz)
                        and estimated_cost_usd is not null
                    union all
                    select
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        changed.agent_id = 'unknown'
                        and tenant_id = changed.tenant_id
                        and agent_id is null
                        and completed_at is null
                        and started_at >= cast(:current_start as timestamptz)
                        and started_at <= cast(:as_of as timestamptz)
                        and estimated_cost_usd is not null
                    union all
                    select
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        changed.agent_id = 'unknown'
                        and tenant_id = changed.tenant_id
                        and agent_id is null
                        and completed_at < started_at
                        and completed_at < cast(:current_start as timestamptz)
                        and started_at >= cast(:current_start as timestamptz)
                        and started_at <= cast(:as_of as timestamptz)
                        and estimated_cost_usd is not null
                ) as agent_run
                where not (cast(:exclude_synthetic as boolean) and agent_run.is_synthetic)
                offset 0 -- noqa: AM09
            ) as judged_run
            offset 0 -- noqa: AM09
        ) as current_run
    ) as current_day
cross join
    lateral (
        select
            avg(cast(estimated_cost_usd as numeric)) filter (where is_finite) as baseline_avg,
            stddev(cast(estimated_cost_usd as numeric)) filter (where is_finite) as baseline_stddev,
            percentile_cont(0.95) within group (order by cost) filter (where is_finite) as baseline_p95,
            count(*) filter (where is_finite) as baseline_run_count,
            count(*) filter (
                where not is_finite and (started_at is null or started_at < cast(:current_start as timestamptz))
            ) as non_finite_costs,
            -- What is 0 or less has no logarithm (R22).
            case when cast(:extras as boolean) then count(*) filter (where cost > 0) end as priced,
            case
                when cast(:extras as boolean)
                    then percentile_cont(0.5) within group (order by ln(cost)) filter (where cost > 0)
            end as log_median,
            case when cast(:extras as boolean) then array_agg(ln(cost)) filter (where cost > 0) end as logs,
            case
                when cast(:extras as boolean)
                    then sum(cast(estimated_cost_usd as numeric)) filter (where is_finite)
            end as baseline_total,
            case
                when cast(:extras as boolean)
                    then bit_count(cast(
                        bit_or(1 << (cast(completed_at as date) - cast(cast(:baseline_start as timestamptz) as date)))
                        filter (where is_finite) as bit(8)
                    ))
            end as baseline_days,
            case when cast(:extras as boolean) then max(completed_at) filter (where is_finite) end as baseline_last_at
        from (
            select
                judged_run.*,
                -- Once for all aggregates that want a double.
                case when judged_run.is_finite then cast(judged_run.estimated_cost_usd as double precision) end as cost
            from (
                select
                    agent_run.started_at,
                    agent_run.completed_at,
                    agent_run.estimated_cost_usd,
                    agent_run.estimated_cost_usd between -1e150 and 1e150 as is_finite
                from (
                    select
                        started_at,
                        completed_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = changed.tenant_id
                        and agent_id = changed.agent_id
                        and completed_at >= cast(:baseline_start as timestamptz)
                        and completed_at < cast(:current_start as timestamptz)
                        and estimated_cost_usd is not null
                    union all
                    select
                        started_at,
                        completed_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        changed.agent_id = 'unknown'
                        and tenant_id = changed.tenant_id
                        and agent_id is null
                        and completed_at >= cast(:baseline_start as timestamptz)
                        and completed_at < cast(:current_start as timestamptz)
                        and estimated_cost_usd is not null
                ) as agent_run
                where
                    (agent_run.started_at is null or agent_run.started_at <= cast(:as_of as timestamptz))
                    and not (cast(:exclude_synthetic as boolean) and agent_run.is_synthetic)
                offset 0 -- noqa: AM09
            ) as judged_run
            offset 0 -- noqa: AM09
        ) as baseline_run
    ) as baseline
cross join
    lateral (
        select percentile_cont(0.5) within group (order by abs(cost_log - baseline.log_median)) as log_mad
        from unnest(baseline.logs) as cost_log
    ) as spread
cross join
    lateral (
        -- More than half of the costs are one and the same: what the others say (R22).
        select avg(cast(abs(cost_log - baseline.log_median) as numeric)) as log_mean_ad
        from unnest(baseline.logs) as cost_log
        where spread.log_mad = 0
    ) as spread_of_mean
cross join
    lateral (
        -- What a single run must cost to be a spike; no exponent of which a double cannot hold the square.
        select
            case
                when baseline.priced >= cast(:robust_min_baseline as integer)
                    then greatest(
                        exp(least(300, baseline.log_median + cast(:robust_score as double precision) * coalesce(
                            1.4826 * nullif(spread.log_mad, 0),
                            1.253314 * cast(spread_of_mean.log_mean_ad as double precision),
                            0
                        ))),
                        exp(least(300, baseline.log_median)) * cast(:robust_min_ratio as double precision),
                        exp(least(300, baseline.log_median)) + cast(:min_effect_usd as double precision)
                    )
            end as cost
    ) as spike_floor
cross join
    lateral (
        select
            array_agg(spike_run.run_id order by spike_run.cost desc, spike_run.run_id collate "C" asc) as run_ids,
            array_agg(
                cast(spike_run.cost as numeric) order by spike_run.cost desc, spike_run.run_id collate "C" asc
            ) as costs
        from (
            -- Few agents have a cost that is this high: the others' runs are not read again.
            select
                costly_run.run_id,
                costly_run.cost
            from (
                select
                    agent_run.run_id,
                    case
                        when agent_run.estimated_cost_usd between -1e150 and 1e150
                            then cast(agent_run.estimated_cost_usd as double precision)
                    end as cost
                from (
                    select
                        run_id,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        current_day.highest > spike_floor.cost
                        and tenant_id = changed.tenant_id
                        and agent_id = changed.agent_id
                        and (
                            completed_at >= cast(:current_start as timestamptz)
                            or completed_at is null
                            or completed_at < started_at
                        )
                        and started_at >= cast(:current_start as timestamptz)
                        and started_at <= cast(:as_of as timestamptz)
                        and estimated_cost_usd is not null
                    union all
                    select
                        run_id,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        current_day.highest > spike_floor.cost
                        and tenant_id = changed.tenant_id
                        and agent_id is null
                        and changed.agent_id = 'unknown'
                        and (
                            completed_at >= cast(:current_start as timestamptz)
                            or completed_at is null
                            or completed_at < started_at
                        )
                        and started_at >= cast(:current_start as timestamptz)
                        and started_at <= cast(:as_of as timestamptz)
                        and estimated_cost_usd is not null
                ) as agent_run
                where not (cast(:exclude_synthetic as boolean) and agent_run.is_synthetic)
            ) as costly_run
            where costly_run.cost > spike_floor.cost
            order by costly_run.cost desc, costly_run.run_id collate "C" asc
            limit cast(:spike_rows as integer)
        ) as spike_run
    ) as spike
where
    current_day.run_count > 0
    or current_day.non_finite_costs + baseline.non_finite_costs > 0
    or (cast(:extras as boolean) and baseline.baseline_run_count >= cast(:robust_min_baseline as integer))
