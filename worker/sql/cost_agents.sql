-- Each agent's cost per run of the last day beside its baseline of the six days before (R19, R20).
-- reads: signals.source_run
-- grain: tenant and agent with a run in the current day, or with a cost that is not finite
-- params: as_of, current_start, baseline_start, tenants, excluded, shards, shard, exclude_synthetic
with current_day as (
    select
        tenant_id,
        coalesce(agent_id, 'unknown') as agent_id,
        avg(cast(estimated_cost_usd as numeric)) filter (where is_finite) as current_avg_cost,
        sum(cast(estimated_cost_usd as numeric)) filter (where is_finite) as total_cost,
        count(*) filter (where is_finite) as run_count,
        count(*) filter (where not is_finite) as non_finite_costs
    from (
        select
            tenant_id,
            agent_id,
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
        ) as non_finite_costs
    from (
        select
            tenant_id,
            agent_id,
            started_at,
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
        baseline_cost.non_finite_costs
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
    coalesce(current_day.non_finite_costs, 0) + coalesce(baseline.non_finite_costs, 0) as non_finite_costs
from current_day
full join baseline
    on baseline.tenant_id = current_day.tenant_id and baseline.agent_id = current_day.agent_id
where
    coalesce(current_day.run_count, 0) > 0
    or coalesce(current_day.non_finite_costs, 0) + coalesce(baseline.non_finite_costs, 0) > 0
