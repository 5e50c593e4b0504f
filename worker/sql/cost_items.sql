-- The verdict on each agent, the largest deviation from its baseline first (R3, R19, R21).
-- reads: pg_temp.stage_agent_cost
-- grain: tenant and agent with a run in the current day, or with a cost that is not finite
-- params: z_threshold
with compared_agent as (
    select
        *,
        case
            when baseline_stddev > 0 then (current_avg_cost - baseline_avg) / baseline_stddev
            else 0
        end as z_score
    from pg_temp.stage_agent_cost
)

select
    tenant_id,
    row_number() over (
        partition by tenant_id
        order by run_count > 0 desc, z_score desc, agent_id collate "C"
    ) as rank,
    agent_id,
    current_avg_cost,
    total_cost,
    run_count,
    baseline_avg,
    baseline_p95,
    baseline_stddev,
    baseline_run_count,
    z_score,
    case
        when baseline_stddev > 0 and z_score > cast(:z_threshold as numeric) then true
        when current_avg_cost > baseline_p95 then true
        else false
    end as is_anomaly,
    non_finite_costs
from compared_agent
