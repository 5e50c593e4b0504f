-- The attention queue as readers get it: the first items, and all of them apart for other limits (R23, R24, R26).
-- reads: pg_temp.stage_attention_run, pg_temp.stage_attention_item
-- grain: tenant, and the empty tenant whose content is that of a tenant without findings
-- params: as_of, weights_version, queue_limit, hide_abandoned, stated_parameters
with tenant_total as (
    select
        tenant_id,
        count(*) filter (where not (cast(:hide_abandoned as boolean) and is_abandoned)) as qualifying_count,
        count(*) filter (where is_abandoned) as abandoned_count,
        -- All that a queue says but what moves with the clock alone; whole records, so that no two read the same.
        sum(
            hashtextextended(
                cast(
                    row(
                        run_id, risk_contribution, impact_contribution, latency_contribution, evidence_contribution,
                        state, status, started_at, is_abandoned
                    ) as text
                ), 0
            )
        ) as static_hash
    from pg_temp.stage_attention_run
    group by tenant_id
),

queued_item as (
    select
        tenant_id,
        rank,
        run_id,
        reasons,
        cast(
            (
                select row_to_json(item)
                from (
                    select
                        run_id,
                        trim_scale(round(attention_score, 6)) as attention_score,
                        reasons,
                        state,
                        status,
                        case
                            when isfinite(started_at) then to_char(started_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                        end as started_at,
                        (
                            select row_to_json(contributions)
                            from (
                                select
                                    trim_scale(round(risk_contribution, 6)) as risk,
                                    trim_scale(round(impact_contribution, 6)) as impact,
                                    trim_scale(round(latency_contribution, 6)) as latency,
                                    trim_scale(round(recency_contribution, 6)) as recency,
                                    trim_scale(round(evidence_contribution, 6)) as evidence
                            ) as contributions
                        ) as contributions,
                        rank,
                        is_abandoned as abandoned
                ) as item
            ) as text
        ) as item
    from pg_temp.stage_attention_item
),

item_list as (
    select
        tenant_id,
        array_agg(item order by rank) as items,
        string_agg(item, ',' order by rank) filter (where rank <= cast(:queue_limit as integer)) as first_items,
        md5(string_agg(cast(row(run_id, reasons) as text), ',' order by rank)) as shape
    from queued_item
    group by tenant_id
),

tenant_queue as (
    select
        tenant_total.tenant_id,
        coalesce(item_list.items, cast(array[] as text[])) as items,
        coalesce(item_list.first_items, '') as first_items,
        tenant_total.qualifying_count,
        tenant_total.abandoned_count,
        cast(tenant_total.static_hash as text) as static_hash,
        coalesce(item_list.shape, '') as shape
    from tenant_total
    left join item_list on item_list.tenant_id = tenant_total.tenant_id
    union all
    select
        '',
        cast(array[] as text[]),
        '',
        0,
        0,
        '',
        ''
)

select
    tenant_id,
    '{"queue":[' || first_items
    || '],"total_attention_items":' || qualifying_count
    || ',"abandoned_items":' || abandoned_count
    || ',"weights_version":' || to_json(cast(:weights_version as text))
    || ',"generated_at":"' || to_char(cast(:as_of as timestamptz), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || '","parameters":' || cast(:stated_parameters as text) || '}' as content,
    items,
    md5(
        static_hash || ' ' || qualifying_count || ' ' || abandoned_count || ' ' || cast(:weights_version as text)
        || cast(:stated_parameters as text)
    ) as basis,
    shape
from tenant_queue
