-- The attention queue as readers get it: the first items, and all of them apart for other limits.
-- Source: docs/specification-notes.md#attention-queue-length.
-- Source: docs/specification-notes.md#attention-score.
-- Source: docs/specification-notes.md#rescoring.
-- reads: pg_temp.stage_attention_run, pg_temp.stage_attention_item, signals.snapshot, signals.pattern_item,
--     signals.cost_item
-- grain: tenant, and the empty tenant whose content is that of a tenant without findings
-- params: as_of, weights_version, queue_limit, hide_abandoned, stated_parameters, extras
with tenant_total as (
    select
        tenant_id,
        count(*) filter (where not (cast(:hide_abandoned as boolean) and is_abandoned)) as qualifying_count,
        count(*) filter (where is_abandoned) as abandoned_count,
        -- All that a queue says but what moves with the clock alone; whole records, so that no two read the same.
        sum(
            hashint8extended(
                hash_record_extended(
                    row(
                        run_id, risk_contribution, impact_contribution, latency_contribution, evidence_contribution,
                        state, status, started_at, is_abandoned
                    ), 0
                ), 0
            )
        ) as static_hash
    from pg_temp.stage_attention_run
    group by tenant_id
),

-- What the other signals last said, where that was not later than the queue's own instant (ADR 0008).
other_signal as (
    select
        tenant_id,
        max(as_of) filter (where signal = 'patterns') as patterns_as_of,
        max(as_of) filter (where signal = 'cost') as cost_as_of
    from signals.snapshot
    where
        signal in ('patterns', 'cost')
        and as_of <= cast(:as_of as timestamptz)
        and tenant_id = any(array(select tenant_total.tenant_id from tenant_total))
        and cast(:extras as boolean)
    group by tenant_id
),

pattern_link as (
    select
        pattern_item.tenant_id,
        pattern_item.run_id,
        string_agg(
            '{"pattern_type":"' || pattern_item.pattern_type || '","skill_id":'
            || coalesce(cast(to_json(pattern_item.skill_id) as text), 'null') || '}', ','
            order by pattern_item.pattern_type asc, pattern_item.rank asc
        ) as links
    from other_signal
    inner join signals.pattern_item on pattern_item.tenant_id = other_signal.tenant_id
    where other_signal.patterns_as_of is not null
    group by pattern_item.tenant_id, pattern_item.run_id
),

cost_link as (
    select
        cost_item.tenant_id,
        cost_item.agent_id,
        '{"agent_id":' || to_json(cost_item.agent_id) || ',"is_anomaly":' || to_json(cost_item.is_anomaly)
        || ',"robust_verdict":' || coalesce(cast(to_json(cost_item.robust_verdict) as text), 'null') || '}' as link
    from other_signal
    inner join signals.cost_item on cost_item.tenant_id = other_signal.tenant_id
    where other_signal.cost_as_of is not null
),

written_item as (
    select
        tenant_id,
        agent_id,
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
                            when isfinite(started_at)
                                then to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
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

-- Written once, though it is looked at twice.
queued_item as materialized (
    select
        written_item.tenant_id,
        written_item.rank,
        written_item.run_id,
        written_item.reasons,
        case
            when cast(:extras as boolean)
                then
                    left(written_item.item, -1) || ',"links":{"patterns":[' || coalesce(pattern_link.links, '')
                    || '],"cost":' || coalesce(cost_link.link, 'null') || '}}'
            else written_item.item
        end as item
    from written_item
    left join pattern_link
        on pattern_link.tenant_id = written_item.tenant_id and pattern_link.run_id = written_item.run_id
    left join cost_link
        on cost_link.tenant_id = written_item.tenant_id and cost_link.agent_id = written_item.agent_id
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
    tenant_queue.tenant_id,
    '{"queue":[' || tenant_queue.first_items
    || '],"total_attention_items":' || tenant_queue.qualifying_count
    || ',"abandoned_items":' || tenant_queue.abandoned_count
    || ',"weights_version":' || to_json(cast(:weights_version as text))
    || ',"generated_at":"' || to_char(cast(:as_of as timestamptz) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || '","parameters":' || cast(:stated_parameters as text)
    || case
        when cast(:extras as boolean)
            then ',"links_as_of":' || (
                select cast(row_to_json(instants) as text)
                from (
                    select
                        to_char(
                            other_signal.patterns_as_of at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
                        ) as patterns,
                        to_char(other_signal.cost_as_of at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as cost
                ) as instants
            )
        else ''
    end
    || '}' as content,
    tenant_queue.items,
    cast(null as integer[]) as lengths,
    md5(
        tenant_queue.static_hash || ' ' || tenant_queue.qualifying_count || ' ' || tenant_queue.abandoned_count || ' '
        || cast(:weights_version as text) || cast(:stated_parameters as text)
    ) as basis,
    tenant_queue.shape
from tenant_queue
left join other_signal on other_signal.tenant_id = tenant_queue.tenant_id
