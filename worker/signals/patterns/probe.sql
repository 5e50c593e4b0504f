-- Notes traces to compare with what is kept of them: the newest, those from a chosen share of the window on, and the
-- newest that are kept. Each part reads a bounded number of rows through an index on the start, and a trace with more
-- than `probe_size` steps is left out.
-- reads: signals.source_trace, signals.source_step, signals.trace_fact
-- grain: trace, into pg_temp.stage_dirty_trace
-- params: as_of, window_start, probe_share, probe_rows, probe_size, excluded, shards, shard
insert into pg_temp.stage_dirty_trace (trace_id)
select distinct sampled_trace.trace_id
from (
    (
        select
            trace_id,
            tenant_id
        from signals.source_trace
        where
            started_at >= cast(:window_start as timestamptz)
            and started_at <= cast(:as_of as timestamptz)
        order by started_at desc
        limit cast(:probe_rows as integer)
    )
    union all
    (
        select
            trace_id,
            tenant_id
        from signals.source_trace
        where
            started_at
            >= cast(:window_start as timestamptz)
            + (cast(:as_of as timestamptz) - cast(:window_start as timestamptz))
            * cast(:probe_share as double precision)
            and started_at <= cast(:as_of as timestamptz)
        order by started_at asc
        limit cast(:probe_rows as integer)
    )
    union all
    (
        select
            trace_id,
            tenant_id
        from signals.trace_fact
        where started_at <= cast(:as_of as timestamptz)
        order by started_at desc
        limit cast(:probe_rows as integer)
    )
) as sampled_trace
where
    sampled_trace.tenant_id <> ''
    and sampled_trace.tenant_id <> all(cast(:excluded as text[]))
    and (
        cast(:shards as integer) = 1
        or signals.slot_of(sampled_trace.tenant_id) % cast(:shards as integer) = cast(:shard as integer)
    )
    and (
        select count(*)
        from (
            select source_step.trace_id
            from signals.source_step
            -- In the collation of the source's index, which would not be used otherwise.
            where source_step.trace_id = sampled_trace.trace_id collate "default"
            limit cast(:probe_size as integer) + 1 -- noqa: AM09
        ) as counted_step
    ) <= cast(:probe_size as integer)
