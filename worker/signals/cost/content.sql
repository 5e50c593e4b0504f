-- The cost analysis as readers get it: every agent of the current day, the largest deviation first.
-- Source: docs/specification-notes.md#cost-figures.
-- Source: docs/specification-notes.md#cost-without-a-baseline.
-- reads: pg_temp.stage_cost_item
-- grain: tenant, and the empty tenant whose content is that of a tenant without findings
-- params: stated_parameters, extras, stated_extras, robust_min_baseline, silent_rows
with tenant_total as (
    select
        tenant_id,
        count(*) filter (where run_count > 0 and is_anomaly) as total_anomalies,
        coalesce(sum(total_cost), 0) as total_cost,
        sum(non_finite_costs) as non_finite_costs,
        coalesce(sum(cast(spec_rate as numeric)), 0) as spec_false_flags,
        coalesce(sum(cast(robust_rate as numeric)), 0) as robust_false_flags
    from pg_temp.stage_cost_item
    group by tenant_id
    union all
    select
        '',
        0,
        0,
        0,
        0,
        0
),

-- Written once: what follows looks at a text more than once.
written_agent as materialized (
    select
        tenant_id,
        rank,
        agent_id,
        robust_verdict,
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
        ) as agent_json,
        case
            when cast(:extras as boolean)
                then cast(
                    (
                        select row_to_json(extra)
                        from (
                            select
                                (
                                    select row_to_json(robust)
                                    from (
                                        select
                                            robust_method as method,
                                            baseline_priced as n_baseline,
                                            current_priced as n_current,
                                            unpriced_runs as zero_cost_runs,
                                            trim_scale(round(cast(median_usd as numeric), 8)) as median_usd,
                                            trim_scale(round(cast(mad_usd as numeric), 8)) as mad_usd,
                                            trim_scale(round(cast(ratio as numeric), 4)) as ratio,
                                            trim_scale(round(cast(effect_usd as numeric), 8)) as effect_usd,
                                            trim_scale(round(cast(robust_score as numeric), 4)) as score,
                                            robust_verdict as verdict,
                                            robust_reason as reason
                                    ) as robust
                                ) as robust,
                                case when spike_run_ids is null then '[]' else (
                                    select json_agg(row_to_json(spike))
                                    from (
                                        select
                                            spike_run.run_id,
                                            trim_scale(round(spike_run.cost, 8)) as cost_usd,
                                            trim_scale(round(cast(cast(
                                                spike_run.cost as double precision
                                            ) / median_usd as numeric), 4)) as ratio
                                        from unnest(spike_run_ids, spike_costs) as spike_run (run_id, cost)
                                    ) as spike
                                ) end as spike_runs,
                                trim_scale(round(volume_ratio, 4)) as volume_ratio,
                                case when peer_agents is not null then (
                                    select row_to_json(peer)
                                    from (
                                        select
                                            'tenant_peers' as label,
                                            peer_agents as agents,
                                            trim_scale(round(cast(peer_median_usd as numeric), 8)) as median_usd,
                                            trim_scale(round(cast(peer_ratio as numeric), 4)) as ratio
                                    ) as peer
                                ) end as peer
                        ) as extra
                    ) as text
                )
        end as extra_json
    from pg_temp.stage_cost_item
    where run_count > 0
),

whole_agent as materialized (
    select
        tenant_id,
        rank,
        agent_id,
        robust_verdict,
        case
            when extra_json is null then agent_json
            else left(agent_json, -1) || ',' || right(extra_json, -1)
        end as agent_json
    from written_agent
),

tenant_agents as (
    select
        tenant_id,
        string_agg(agent_json, ',' order by rank) as agents,
        array_agg(length(agent_json) order by rank) as lengths,
        json_agg(agent_id order by rank) filter (where robust_verdict = 'saver') as savers
    from whole_agent
    group by tenant_id
),

silent_agents as (
    select
        tenant_id,
        string_agg(
            cast(
                (
                    select row_to_json(silent)
                    from (
                        select
                            agent_id,
                            baseline_run_count as baseline_runs,
                            to_char(baseline_last_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as last_run_at
                    ) as silent
                ) as text
            ), ',' order by place
        ) as agents
    from (
        select
            tenant_id,
            agent_id,
            baseline_run_count,
            baseline_last_at,
            row_number() over (
                partition by tenant_id
                order by baseline_run_count desc, agent_id collate "C" asc
            ) as place
        from pg_temp.stage_cost_item
        where
            run_count = 0
            and baseline_run_count >= cast(:robust_min_baseline as integer)
            and cast(:extras as boolean)
    ) as silent_agent
    where place <= cast(:silent_rows as integer)
    group by tenant_id
),

tenant_content as materialized (
    select
        tenant_total.tenant_id,
        tenant_agents.lengths,
        '{"agents":[' || coalesce(tenant_agents.agents, '')
        || '],"total_anomalies":' || tenant_total.total_anomalies
        || ',"total_cost_usd":' || trim_scale(round(tenant_total.total_cost, 8))
        || ',"parameters":' || cast(:stated_parameters as text)
        || ',"data_quality":{"non_finite_costs":' || tenant_total.non_finite_costs || '}'
        || case
            when cast(:extras as boolean)
                then
                    ',"savers":' || coalesce(cast(tenant_agents.savers as text), '[]')
                    || ',"silent_agents":[' || coalesce(silent_agents.agents, '')
                    || '],"expected_false_flags":{"spec":' || trim_scale(round(tenant_total.spec_false_flags, 4))
                    || ',"robust":' || trim_scale(round(tenant_total.robust_false_flags, 4))
                    || '},"extra_parameters":' || cast(:stated_extras as text)
            else ''
        end
        || '}' as content
    from tenant_total
    left join tenant_agents on tenant_agents.tenant_id = tenant_total.tenant_id
    left join silent_agents on silent_agents.tenant_id = tenant_total.tenant_id
),

known_content as materialized (
    select
        tenant_content.*,
        md5(tenant_content.content) as basis
    from tenant_content
)

select
    tenant_id,
    content,
    cast(null as text[]) as items,
    lengths,
    basis,
    basis as shape
from known_content
