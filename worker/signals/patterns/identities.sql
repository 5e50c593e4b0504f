-- What identifies each entry of the patterns just published, and what of it can rise and fall.
-- reads: pg_temp.stage_published, pg_temp.stage_pattern_item
-- grain: one row per tenant, pattern and, for two of the patterns, skill
-- params: none
with entry as (
    select
        item.tenant_id,
        item.pattern_type,
        item.skill_id,
        min(item.rank) as strongest_rank,
        count(*) as run_count,
        max(
            coalesce(item.oscillation_count, item.loop_depth, item.slow_step_count, item.retry_count)
        ) as strength
    from pg_temp.stage_pattern_item as item
    where item.tenant_id in (select published.tenant_id from pg_temp.stage_published as published)
    group by item.tenant_id, item.pattern_type, item.skill_id
),

keyed_entry as materialized (
    select
        entry.*,
        jsonb_build_object('pattern_type', entry.pattern_type, 'skill_id', entry.skill_id) as key
    from entry
)

select
    keyed_entry.tenant_id,
    row_number() over (
        partition by keyed_entry.tenant_id
        order by
            array_position(
                array['retry_loop', 'step_oscillation', 'tool_call_loop', 'timeout_cascade'], keyed_entry.pattern_type
            ) asc,
            keyed_entry.strongest_rank asc
    ) as position,
    signals.item_fingerprint('patterns', keyed_entry.key) as fingerprint,
    keyed_entry.key,
    keyed_entry.strength as value,
    keyed_entry.strength as severity,
    -- Twice as many runs are worse, one more is not.
    (
        array['1 run', '2 runs', '4 runs', '8 runs']
    )[1:1 + cast(floor(log(2, keyed_entry.run_count)) as integer)] as traits
from keyed_entry
