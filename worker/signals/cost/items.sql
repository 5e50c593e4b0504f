-- The verdict on each agent, the largest deviation from its baseline first, and the robust one.
-- Source: docs/specification-notes.md#total-order.
-- Source: docs/specification-notes.md#cost-figures.
-- Source: docs/specification-notes.md#cost-without-a-baseline.
-- Source: docs/specification-notes.md#robust-cost-verdict.
-- reads: pg_temp.stage_agent_cost
-- grain: tenant and agent with a run in the current day, or with a cost that is not finite, or fallen silent
-- params: z_threshold, extras, robust_min_baseline, robust_score, robust_min_ratio, min_effect_usd, peers_min_agents,
--     spec_flag_rates, robust_flag_rates, flag_rate_baselines, flag_rate_currents
with compared_agent as (
    select
        *,
        case
            when baseline_stddev > 0 then (current_avg_cost - baseline_avg) / baseline_stddev
            else 0
        end as z_score,
        current_log_median - baseline_log_median as log_ratio,
        coalesce(
            1.4826 * nullif(baseline_log_mad, 0), 1.253314 * cast(baseline_log_mean_ad as double precision)
        ) as log_scale
    from pg_temp.stage_agent_cost
),

scored_agent as materialized (
    select
        *,
        -- No exponent of which a double cannot hold the square.
        exp(case
            when baseline_log_median > 300 then 300
            when baseline_log_median < -300 then -300
            else baseline_log_median
        end) as median_usd,
        exp(case when log_ratio > 300 then 300 when log_ratio < -300 then -300 else log_ratio end) as ratio,
        log_ratio / (nullif(log_scale, 0) * 1.2533 / sqrt(nullif(current_priced, 0))) as score
    from compared_agent
),

priced_agent as (
    select
        *,
        median_usd * (exp(case when baseline_log_mad > 300 then 300 else baseline_log_mad end) - 1) as mad_usd,
        (ratio - 1) * median_usd * current_priced as effect_usd
    from scored_agent
),

judged_agent as materialized (
    select
        *,
        case
            when not cast(:extras as boolean) or run_count = 0 then null
            when baseline_priced = 0 then 'no_baseline'
            when baseline_priced < cast(:robust_min_baseline as integer) then 'few_baseline_runs'
            when current_priced = 0 then 'no_priced_run'
            -- A cost that never varied has no scale: every other one is significant.
            when log_scale > 0 and abs(score) <= cast(:robust_score as double precision) then 'within_variation'
            when
                ratio < cast(:robust_min_ratio as double precision)
                and ratio > 1 / cast(:robust_min_ratio as double precision)
                then 'small_ratio'
            when abs(effect_usd) < cast(:min_effect_usd as double precision) then 'small_effect'
            when ratio > 1 then 'costlier'
            else 'cheaper'
        end as reason
    from priced_agent
),

-- What a run of the tenant's other agents costs, for an agent that has no past of its own.
tenant_peer as (
    select
        tenant_id,
        count(*) as agents,
        percentile_cont(0.5) within group (order by baseline_log_median) as log_median
    from pg_temp.stage_agent_cost
    where baseline_priced >= cast(:robust_min_baseline as integer) and cast(:extras as boolean)
    group by tenant_id
    having count(*) >= cast(:peers_min_agents as integer)
)

select
    judged_agent.tenant_id,
    row_number() over (
        partition by judged_agent.tenant_id
        order by judged_agent.run_count > 0 desc, judged_agent.z_score desc, judged_agent.agent_id collate "C"
    ) as rank,
    judged_agent.agent_id,
    judged_agent.current_avg_cost,
    judged_agent.total_cost,
    judged_agent.run_count,
    judged_agent.baseline_avg,
    judged_agent.baseline_p95,
    judged_agent.baseline_stddev,
    judged_agent.baseline_run_count,
    judged_agent.z_score,
    case
        when judged_agent.baseline_stddev > 0 and judged_agent.z_score > cast(:z_threshold as numeric) then true
        when
            -- What is too small for a double is 0 in the percentile too.
            cast(
                case
                    when judged_agent.current_avg_cost >= 1e-307 or judged_agent.current_avg_cost <= -1e-307
                        then judged_agent.current_avg_cost
                    when judged_agent.current_avg_cost is not null then 0
                end as double precision
            ) > judged_agent.baseline_p95
            then true
        else false
    end as is_anomaly,
    judged_agent.non_finite_costs,
    case judged_agent.reason
        when 'no_baseline' then 'cold_start'
        when 'few_baseline_runs' then 'insufficient_data'
        when 'no_priced_run' then 'insufficient_data'
        when 'costlier' then 'anomaly'
        when 'cheaper' then 'saver'
        else case when judged_agent.reason is not null then 'normal' end
    end as robust_verdict,
    judged_agent.reason as robust_reason,
    case
        when judged_agent.baseline_log_mad > 0 then 'log_median_mad'
        when judged_agent.log_scale > 0 then 'log_median_mean_ad'
        when judged_agent.baseline_log_mad = 0 then 'log_median'
    end as robust_method,
    judged_agent.baseline_priced,
    judged_agent.current_priced,
    judged_agent.run_count + judged_agent.baseline_run_count - judged_agent.current_priced
    - judged_agent.baseline_priced as unpriced_runs,
    judged_agent.median_usd,
    judged_agent.mad_usd,
    judged_agent.ratio,
    judged_agent.effect_usd,
    judged_agent.score as robust_score,
    judged_agent.spike_run_ids,
    judged_agent.spike_costs,
    -- The mean day is that of the days on which the agent ran, 6 at most: the baseline's 6 days touch 7 dates.
    case
        when judged_agent.baseline_total > 0
            then judged_agent.total_cost * least(6, judged_agent.baseline_days) / judged_agent.baseline_total
    end as volume_ratio,
    tenant_peer.agents as peer_agents,
    exp(case
        when tenant_peer.log_median > 300 then 300
        when tenant_peer.log_median < -300 then -300
        else tenant_peer.log_median
    end) as peer_median_usd,
    exp(case
        when judged_agent.current_log_median - tenant_peer.log_median > 300 then 300
        when judged_agent.current_log_median - tenant_peer.log_median < -300 then -300
        else judged_agent.current_log_median - tenant_peer.log_median
    end) as peer_ratio,
    judged_agent.baseline_last_at,
    flag_rate.spec_rate,
    flag_rate.robust_rate
from judged_agent
left join tenant_peer
    on tenant_peer.tenant_id = judged_agent.tenant_id and judged_agent.baseline_priced = 0
left join
    lateral (
        -- How often a healthy agent of as many runs is flagged (docs/signals.md).
        select
            (cast(:spec_flag_rates as double precision[][]))[
                width_bucket(judged_agent.baseline_run_count, cast(:flag_rate_baselines as bigint[]))
            ][
                width_bucket(judged_agent.run_count, cast(:flag_rate_currents as bigint[]))
            ] as spec_rate,
            (cast(:robust_flag_rates as double precision[][]))[
                width_bucket(judged_agent.baseline_priced, cast(:flag_rate_baselines as bigint[]))
            ][
                width_bucket(judged_agent.current_priced, cast(:flag_rate_currents as bigint[]))
            ] as robust_rate
        where judged_agent.run_count > 0 and cast(:extras as boolean)
    ) as flag_rate
    on true
