-- Notes the tenants whose queue time alone has changed: a run's day is over, its start has come, it fell silent, or the
-- scores are due again.
-- Source: docs/specification-notes.md#rescoring.
-- reads: signals.attention_fact, signals.snapshot
-- grain: tenant, into pg_temp.stage_tenant; facts whose day is over are deleted
-- params: as_of, since, completed_since, silent_since, rescore_before, shards, shard
with expired as (
    delete from signals.attention_fact
    where
        completed_at < cast(:completed_since as timestamptz)
        and state is distinct from 'LIVE'
        and (
            cast(:shards as integer) = 1
            or signals.slot_of(tenant_id) % cast(:shards as integer) = cast(:shard as integer)
        )
    returning tenant_id
)

insert into pg_temp.stage_tenant (tenant_id)
select tenant_id
from expired
union distinct
select moved.tenant_id
from (
    select tenant_id
    from signals.attention_fact
    where started_at > cast(:since as timestamptz) and started_at <= cast(:as_of as timestamptz)
    union all
    select tenant_id
    from signals.attention_fact
    where
        state = 'LIVE'
        and heartbeat_at
        > cast(:silent_since as timestamptz) - (cast(:as_of as timestamptz) - cast(:since as timestamptz))
        and heartbeat_at <= cast(:silent_since as timestamptz)
    union all
    select tenant_id
    from signals.snapshot
    where signal = 'attention' and as_of <= cast(:rescore_before as timestamptz)
) as moved
where
    cast(:shards as integer) = 1
    or signals.slot_of(moved.tenant_id) % cast(:shards as integer) = cast(:shard as integer)
