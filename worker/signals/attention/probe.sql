-- Notes runs to compare with what is kept of them: the newest, those from a chosen share of the last day on, and the
-- newest that are kept. Each part reads a bounded number of rows through an index on the start.
-- reads: signals.source_run, signals.attention_fact
-- grain: run, into pg_temp.stage_dirty_run
-- params: as_of, completed_since, probe_share, probe_rows, excluded, shards, shard
insert into pg_temp.stage_dirty_run (run_id)
select distinct sampled_run.run_id
from (
    (
        select
            run_id,
            tenant_id
        from signals.source_run
        where started_at <= cast(:as_of as timestamptz)
        order by started_at desc
        limit cast(:probe_rows as integer)
    )
    union all
    (
        select
            run_id,
            tenant_id
        from signals.source_run
        where
            started_at
            >= cast(:completed_since as timestamptz)
            + (cast(:as_of as timestamptz) - cast(:completed_since as timestamptz))
            * cast(:probe_share as double precision)
            and started_at <= cast(:as_of as timestamptz)
        order by started_at asc
        limit cast(:probe_rows as integer)
    )
    union all
    (
        select
            run_id,
            tenant_id
        from signals.attention_fact
        where started_at <= cast(:as_of as timestamptz)
        order by started_at desc
        limit cast(:probe_rows as integer)
    )
) as sampled_run
where
    sampled_run.tenant_id <> ''
    and sampled_run.tenant_id <> all(cast(:excluded as text[]))
    and (
        cast(:shards as integer) = 1
        or signals.slot_of(sampled_run.tenant_id) % cast(:shards as integer) = cast(:shard as integer)
    )
