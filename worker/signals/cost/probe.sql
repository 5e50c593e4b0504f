-- Notes agents to compare with what is kept of them: those of the newest runs, and of the runs from a chosen share of
-- the windows on. Each part reads a bounded number of rows through an index on the start, and an agent with more than
-- `probe_size` runs in the windows is left out, as are runs without an agent.
-- reads: signals.source_run
-- grain: tenant and agent, into pg_temp.stage_dirty_agent
-- params: as_of, baseline_start, probe_share, probe_rows, probe_size, excluded, shards, shard
insert into pg_temp.stage_dirty_agent (tenant_id, agent_id)
select
    sampled_agent.tenant_id,
    sampled_agent.agent_id
from (
    select distinct
        sampled_run.tenant_id,
        sampled_run.agent_id
    from (
        (
            select
                tenant_id,
                agent_id,
                estimated_cost_usd
            from signals.source_run
            where started_at <= cast(:as_of as timestamptz)
            order by started_at desc
            limit cast(:probe_rows as integer)
        )
        union all
        (
            select
                tenant_id,
                agent_id,
                estimated_cost_usd
            from signals.source_run
            where
                started_at
                >= cast(:baseline_start as timestamptz)
                + (cast(:as_of as timestamptz) - cast(:baseline_start as timestamptz))
                * cast(:probe_share as double precision)
                and started_at <= cast(:as_of as timestamptz)
            order by started_at asc
            limit cast(:probe_rows as integer)
        )
    ) as sampled_run
    where
        sampled_run.tenant_id <> ''
        and sampled_run.agent_id <> 'unknown'
        and sampled_run.estimated_cost_usd is not null
        and sampled_run.tenant_id <> all(cast(:excluded as text[]))
        and (
            cast(:shards as integer) = 1
            or signals.slot_of(sampled_run.tenant_id) % cast(:shards as integer) = cast(:shard as integer)
        )
) as sampled_agent
where
    (
        select count(*)
        from (
            (
                select source_run.run_id
                from signals.source_run
                where
                    source_run.tenant_id = sampled_agent.tenant_id
                    and source_run.agent_id = sampled_agent.agent_id
                    and source_run.completed_at >= cast(:baseline_start as timestamptz)
                    and source_run.estimated_cost_usd is not null
                limit cast(:probe_size as integer) + 1 -- noqa: AM09
            )
            union all
            (
                select source_run.run_id
                from signals.source_run
                where
                    source_run.tenant_id = sampled_agent.tenant_id
                    and source_run.agent_id = sampled_agent.agent_id
                    and source_run.completed_at is null
                    and source_run.estimated_cost_usd is not null
                limit cast(:probe_size as integer) + 1 -- noqa: AM09
            )
        ) as agent_run
    ) <= cast(:probe_size as integer)
