-- The cost analysis as readers get it: every agent of the current day, the largest deviation first (R19, R21).
-- reads: pg_temp.stage_cost_item
-- grain: tenant, and the empty tenant whose content is that of a tenant without findings
-- params: stated_parameters
with tenant_total as (
    select
        tenant_id,
        count(*) filter (where run_count > 0 and is_anomaly) as total_anomalies,
        coalesce(sum(total_cost), 0) as total_cost,
        sum(non_finite_costs) as non_finite_costs
    from pg_temp.stage_cost_item
    group by tenant_id
    union all
    select
        '',
        0,
        0,
        0
),

written_agent as (
    select
        tenant_id,
        rank,
        cast(
            (
                select row_to_json(agent)
                from (
                    select
                        agent_id,
                        trim_scale(round(current_avg_cost, 8)) as current_cost_usd,
                        trim_scale(round(baseline_avg, 8)) as baseline_avg_usd,
                        trim_scale(round(cast(baseline_p95 as numeric), 8)) as baseline_p95_usd,
                        trim_scale(round(z_score, 4)) as z_score,
                        is_anomaly,
                        run_count,
                        trim_scale(round(total_cost, 8)) as total_cost_usd,
                        baseline_run_count
                ) as agent
            ) as text
        ) as agent_json
    from pg_temp.stage_cost_item
    where run_count > 0
),

tenant_agents as (
    select
        tenant_id,
        string_agg(agent_json, ',' order by rank) as agents,
        array_agg(agent_json order by rank) as items
    from written_agent
    group by tenant_id
),

tenant_content as (
    select
        tenant_total.tenant_id,
        tenant_agents.items,
        '{"agents":[' || coalesce(tenant_agents.agents, '')
        || '],"total_anomalies":' || tenant_total.total_anomalies
        || ',"total_cost_usd":' || trim_scale(round(tenant_total.total_cost, 8))
        || ',"parameters":' || cast(:stated_parameters as text)
        || ',"data_quality":{"non_finite_costs":' || tenant_total.non_finite_costs || '}}' as content
    from tenant_total
    left join tenant_agents on tenant_agents.tenant_id = tenant_total.tenant_id
)

select
    tenant_id,
    content,
    items,
    md5(content) as basis,
    md5(content) as shape
from tenant_content
