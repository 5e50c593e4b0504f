-- Each agent's cost per run of the last day beside its baseline of the six days before (R19, R20).
-- reads: signals.source_run
-- grain: tenant and agent with a run in the current day, or with a cost that is not finite; with extras, an agent that
--     fell silent too
-- params: as_of, current_start, baseline_start, tenants, excluded, shards, shard, exclude_synthetic, extras,
--     robust_min_baseline, robust_score, robust_min_ratio, min_effect_usd, spike_rows
with current_day as (
    select
        tenant_id,
        coalesce(agent_id, 'unknown') as agent_id,
        avg(cast(estimated_cost_usd as numeric)) filter (where is_finite) as current_avg_cost,
        sum(cast(estimated_cost_usd as numeric)) filter (where is_finite) as total_cost,
        count(*) filter (where is_finite) as run_count,
        count(*) filter (where not is_finite) as non_finite_costs,
        case
            when cast(:extras as boolean)
                then array_agg(cast(estimated_cost_usd as double precision)) filter (where is_finite)
        end as costs,
        case when cast(:extras as boolean) then array_agg(run_id) filter (where is_finite) end as run_ids
    from (
        select
            tenant_id,
            agent_id,
            run_id,
            estimated_cost_usd,
            -- What a double cannot square would fail the refresh of every tenant: it counts as not finite.
            estimated_cost_usd between -1e150 and 1e150 as is_finite
        from signals.source_run
        where
            started_at >= cast(:current_start as timestamptz)
            and started_at <= cast(:as_of as timestamptz)
            and estimated_cost_usd is not null
            and tenant_id <> ''
            and (cast(:tenants as text[]) is null or tenant_id = any(cast(:tenants as text[])))
            and tenant_id <> all(cast(:excluded as text[]))
            and (
                cast(:shards as integer) = 1
                or signals.slot_of(tenant_id) % cast(:shards as integer) = cast(:shard as integer)
            )
            and not (cast(:exclude_synthetic as boolean) and is_synthetic)
        -- A fence: each cost is judged once, and not by each aggregate again.
        offset 0 -- noqa: AM09
    ) as current_run
    group by tenant_id, coalesce(agent_id, 'unknown')
),

baseline_cost as materialized (
    select
        tenant_id,
        coalesce(agent_id, 'unknown') as agent_id,
        avg(cast(estimated_cost_usd as numeric)) filter (where is_finite) as baseline_avg,
        stddev(cast(estimated_cost_usd as numeric)) filter (where is_finite) as baseline_stddev,
        -- Gathered by hash and ordered agent by agent: an ordered aggregate here would sort all rows by their names.
        array_agg(cast(estimated_cost_usd as double precision)) filter (where is_finite) as costs,
        count(*) filter (where is_finite) as baseline_run_count,
        -- One that started in the current day is counted there.
        count(*) filter (
            where not is_finite and (started_at is null or started_at < cast(:current_start as timestamptz))
        ) as non_finite_costs,
        case
            when cast(:extras as boolean)
                then sum(cast(estimated_cost_usd as numeric)) filter (where is_finite)
        end as baseline_total,
        -- Dates, a bit for each: whole days of 24 hours would move with the clock, and no mark would say so.
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
            tenant_id,
            agent_id,
            started_at,
            completed_at,
            estimated_cost_usd,
            estimated_cost_usd between -1e150 and 1e150 as is_finite
        from signals.source_run
        where
            completed_at >= cast(:baseline_start as timestamptz)
            and completed_at < cast(:current_start as timestamptz)
            and (started_at is null or started_at <= cast(:as_of as timestamptz))
            and estimated_cost_usd is not null
            and tenant_id <> ''
            and (cast(:tenants as text[]) is null or tenant_id = any(cast(:tenants as text[])))
            and tenant_id <> all(cast(:excluded as text[]))
            and (
                cast(:shards as integer) = 1
                or signals.slot_of(tenant_id) % cast(:shards as integer) = cast(:shard as integer)
            )
            and not (cast(:exclude_synthetic as boolean) and is_synthetic)
        offset 0 -- noqa: AM09
    ) as baseline_run
    group by tenant_id, coalesce(agent_id, 'unknown')
),

baseline as (
    select
        baseline_cost.tenant_id,
        baseline_cost.agent_id,
        baseline_cost.baseline_avg,
        baseline_cost.baseline_stddev,
        (
            select percentile_cont(0.95) within group (order by cost)
            from unnest(baseline_cost.costs) as cost
        ) as baseline_p95,
        baseline_cost.baseline_run_count,
        baseline_cost.non_finite_costs,
        baseline_cost.costs,
        baseline_cost.baseline_total,
        baseline_cost.baseline_days,
        baseline_cost.baseline_last_at
    from baseline_cost
)

select
    coalesce(current_day.tenant_id, baseline.tenant_id) as tenant_id,
    coalesce(current_day.agent_id, baseline.agent_id) as agent_id,
    current_day.current_avg_cost,
    current_day.total_cost,
    coalesce(current_day.run_count, 0) as run_count,
    baseline.baseline_avg,
    baseline.baseline_p95,
    baseline.baseline_stddev,
    coalesce(baseline.baseline_run_count, 0) as baseline_run_count,
    coalesce(current_day.non_finite_costs, 0) + coalesce(baseline.non_finite_costs, 0) as non_finite_costs,
    center.priced as baseline_priced,
    present.priced as current_priced,
    center.log_median as baseline_log_median,
    spread.log_mad as baseline_log_mad,
    spread_of_mean.log_mean_ad as baseline_log_mean_ad,
    present.log_median as current_log_median,
    baseline.baseline_total,
    baseline.baseline_days,
    baseline.baseline_last_at,
    spike.run_ids as spike_run_ids,
    spike.costs as spike_costs
from current_day
full join baseline
    on baseline.tenant_id = current_day.tenant_id and baseline.agent_id = current_day.agent_id
-- The costs on the log scale; what is 0 or less has no logarithm (R22). An aggregate over nothing is NULL.
cross join
    lateral (
        select
            case when cast(:extras as boolean) then count(*) end as priced,
            percentile_cont(0.5) within group (order by ln(cost)) as log_median
        from unnest(baseline.costs) as cost
        where cost > 0 and cast(:extras as boolean)
    ) as center
cross join
    lateral (
        select percentile_cont(0.5) within group (order by abs(ln(cost) - center.log_median)) as log_mad
        from unnest(baseline.costs) as cost
        where cost > 0 and center.priced > 0
    ) as spread
cross join
    lateral (
        -- More than half of the costs are one and the same: what the others say (R22).
        select avg(cast(abs(ln(cost) - center.log_median) as numeric)) as log_mean_ad
        from unnest(baseline.costs) as cost
        where cost > 0 and spread.log_mad = 0
    ) as spread_of_mean
cross join
    lateral (
        select
            case when cast(:extras as boolean) then count(*) end as priced,
            percentile_cont(0.5) within group (order by ln(cost)) as log_median
        from unnest(current_day.costs) as cost
        where cost > 0 and cast(:extras as boolean)
    ) as present
cross join
    lateral (
        -- What a single run must cost to be a spike; no exponent of which a double cannot hold the square.
        select
            case
                when center.priced >= cast(:robust_min_baseline as integer)
                    then greatest(
                        exp(least(300, center.log_median + cast(:robust_score as double precision) * coalesce(
                            1.4826 * nullif(spread.log_mad, 0),
                            1.253314 * cast(spread_of_mean.log_mean_ad as double precision),
                            0
                        ))),
                        exp(least(300, center.log_median)) * cast(:robust_min_ratio as double precision),
                        exp(least(300, center.log_median)) + cast(:min_effect_usd as double precision)
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
            select
                current_run.run_id,
                current_run.cost
            from unnest(current_day.run_ids, current_day.costs) as current_run (run_id, cost)
            where current_run.cost > spike_floor.cost
            order by current_run.cost desc, current_run.run_id collate "C" asc
            limit cast(:spike_rows as integer)
        ) as spike_run
    ) as spike
where
    coalesce(current_day.run_count, 0) > 0
    or coalesce(current_day.non_finite_costs, 0) + coalesce(baseline.non_finite_costs, 0) > 0
    or (cast(:extras as boolean) and baseline.baseline_run_count >= cast(:robust_min_baseline as integer))
