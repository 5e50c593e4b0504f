-- What cost_agents finds, for the agents alone that are marked: each is read by itself, through the index of its runs.
-- reads: signals.source_run, pg_temp.stage_dirty_agent
-- grain: tenant and agent with a run in the current day, or with a cost that is not finite
-- params: as_of, current_start, baseline_start, excluded, exclude_synthetic
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
    current_day.non_finite_costs + baseline.non_finite_costs as non_finite_costs
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
            count(*) filter (where not is_finite) as non_finite_costs
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
        ) as current_run
    ) as current_day
cross join
    lateral (
        select
            avg(cast(estimated_cost_usd as numeric)) filter (where is_finite) as baseline_avg,
            stddev(cast(estimated_cost_usd as numeric)) filter (where is_finite) as baseline_stddev,
            percentile_cont(0.95) within group (
                order by cast(estimated_cost_usd as double precision)
            ) filter (where is_finite) as baseline_p95,
            count(*) filter (where is_finite) as baseline_run_count,
            count(*) filter (
                where not is_finite and (started_at is null or started_at < cast(:current_start as timestamptz))
            ) as non_finite_costs
        from (
            select
                agent_run.started_at,
                agent_run.estimated_cost_usd,
                agent_run.estimated_cost_usd between -1e150 and 1e150 as is_finite
            from (
                select
                    started_at,
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
        ) as baseline_run
    ) as baseline
where
    current_day.run_count > 0
    or current_day.non_finite_costs + baseline.non_finite_costs > 0
