-- Notes the agents that time alone has changed: a run of theirs crossed an edge of a window, or its start has come.
-- reads: signals.source_run
-- grain: tenant and agent, into pg_temp.stage_dirty_agent
-- params: as_of, since, current_start, baseline_start, shards, shard
insert into pg_temp.stage_dirty_agent (tenant_id, agent_id)
select distinct
    moved_run.tenant_id,
    coalesce(moved_run.agent_id, 'unknown')
from (
    -- Its start has come: it enters the current day.
    select
        tenant_id,
        agent_id,
        estimated_cost_usd
    from signals.source_run
    where started_at > cast(:since as timestamptz) and started_at <= cast(:as_of as timestamptz)
    union all
    -- It left the current day.
    select
        tenant_id,
        agent_id,
        estimated_cost_usd
    from signals.source_run
    where
        started_at >= cast(:current_start as timestamptz) - (cast(:as_of as timestamptz) - cast(:since as timestamptz))
        and started_at < cast(:current_start as timestamptz)
    union all
    -- It entered the baseline.
    select
        tenant_id,
        agent_id,
        estimated_cost_usd
    from signals.source_run
    where
        completed_at
        >= cast(:current_start as timestamptz) - (cast(:as_of as timestamptz) - cast(:since as timestamptz))
        and completed_at < cast(:current_start as timestamptz)
    union all
    -- It left the baseline.
    select
        tenant_id,
        agent_id,
        estimated_cost_usd
    from signals.source_run
    where
        completed_at
        >= cast(:baseline_start as timestamptz) - (cast(:as_of as timestamptz) - cast(:since as timestamptz))
        and completed_at < cast(:baseline_start as timestamptz)
) as moved_run
where
    moved_run.tenant_id <> ''
    and moved_run.estimated_cost_usd is not null
    and (
        cast(:shards as integer) = 1
        or signals.slot_of(moved_run.tenant_id) % cast(:shards as integer) = cast(:shard as integer)
    )
