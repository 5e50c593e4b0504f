-- Notes the runs that time alone has changed: their traces left the window, or their start has come.
-- reads: signals.trace_fact
-- grain: tenant and run, into pg_temp.stage_changed_run; facts that left the window are deleted
-- params: as_of, since, window_start, shards, shard
with expired as (
    delete from signals.trace_fact
    where
        started_at < cast(:window_start as timestamptz)
        and (
            cast(:shards as integer) = 1
            or signals.slot_of(tenant_id) % cast(:shards as integer) = cast(:shard as integer)
        )
    returning tenant_id, run_id
)

insert into pg_temp.stage_changed_run (tenant_id, run_id)
select
    tenant_id,
    run_id
from expired
union distinct
select
    tenant_id,
    run_id
from signals.trace_fact
where
    started_at > cast(:since as timestamptz)
    and started_at <= cast(:as_of as timestamptz)
    and (
        cast(:shards as integer) = 1
        or signals.slot_of(tenant_id) % cast(:shards as integer) = cast(:shard as integer)
    )
