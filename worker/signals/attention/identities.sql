-- What identifies each item of the queues just published, and what of it can rise and fall: the score without recency.
-- Items that were stored and still qualify, but stand beyond those that are stored now, have no position.
-- reads: pg_temp.stage_published, pg_temp.stage_attention_item, pg_temp.stage_attention_run, signals.item_state
-- grain: one row per tenant and run
-- params: hide_abandoned
with placed_run as (
    select
        item.tenant_id,
        item.rank as position,
        item.run_id,
        item.attention_score,
        item.attention_score - item.recency_contribution as severity,
        item.reasons
    from pg_temp.stage_attention_item as item
    where item.tenant_id in (select published.tenant_id from pg_temp.stage_published as published)
    union all
    select
        run.tenant_id,
        null,
        run.run_id,
        run.attention_score,
        run.attention_score - run.recency_contribution,
        run.reasons
    from signals.item_state as known
    inner join pg_temp.stage_attention_run as run
        on run.tenant_id = known.tenant_id and run.run_id = known.key ->> 'run_id'
    where
        known.signal = 'attention'
        and known.left_at is null
        and known.tenant_id = any(array(select published.tenant_id from pg_temp.stage_published as published))
        and not (cast(:hide_abandoned as boolean) and run.is_abandoned)
        and not exists (
            select from pg_temp.stage_attention_item as item
            where item.tenant_id = run.tenant_id and item.run_id = run.run_id
        )
),

keyed_run as materialized (
    select
        placed_run.*,
        jsonb_build_object('run_id', placed_run.run_id) as key
    from placed_run
)

select
    keyed_run.tenant_id,
    keyed_run.position,
    signals.item_fingerprint('attention', keyed_run.key) as fingerprint,
    keyed_run.key,
    keyed_run.attention_score as value,
    keyed_run.severity,
    keyed_run.reasons as traits
from keyed_run
