-- The trigger functions that mark what changed. They run as the host's writer calls them, who has no rights on our
-- schema: SECURITY DEFINER, every name qualified. Words in double braces are filled in by migrations.capture: row.column
-- is our column in a row of the host's, old_* and new_* are the columns to compare.
create or replace function signals.mark_traces() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        insert into signals.dirty_trace (trace_id) select {{new_row.trace_id}} from new_row;
    elsif tg_op = 'DELETE' then
        insert into signals.dirty_trace (trace_id, tenant_id) select {{old_row.trace_id}}, {{old_row.tenant_id}} from old_row;
    else
        -- A host touches its traces often; only what a signal reads counts.
        insert into signals.dirty_trace (trace_id, tenant_id)
        select side.trace_id, side.tenant_id
        from old_row
        full join new_row on {{new_row.trace_id}} = {{old_row.trace_id}}
        cross join lateral (
            values ({{old_row.trace_id}}, {{old_row.tenant_id}}), ({{new_row.trace_id}}, null)
        ) as side (trace_id, tenant_id)
        where
            row({{old_trace}}) is distinct from row({{new_trace}})
            and side.trace_id is not null;
    end if;
    return null;
end
$$;

create or replace function signals.mark_steps() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        insert into signals.dirty_trace (trace_id) select distinct {{new_row.trace_id}} from new_row;
    elsif tg_op = 'DELETE' then
        insert into signals.dirty_trace (trace_id) select distinct {{old_row.trace_id}} from old_row;
    else
        insert into signals.dirty_trace (trace_id)
        select {{old_row.trace_id}} from old_row
        union
        select {{new_row.trace_id}} from new_row;
    end if;
    return null;
end
$$;

create or replace function signals.mark_runs() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        insert into signals.dirty_run (run_id, tenant_id)
        select {{new_row.id}}, {{new_row.tenant_id}} from new_row where {{new_row.tenant_id}} <> '';
        insert into signals.dirty_agent (tenant_id, agent_id)
        select distinct {{new_row.tenant_id}}, coalesce({{new_row.agent_id}}, 'unknown') from new_row
        where {{new_row.tenant_id}} <> '' and {{new_row.estimated_cost_usd}} is not null;
    elsif tg_op = 'DELETE' then
        insert into signals.dirty_run (run_id, tenant_id)
        select {{old_row.id}}, {{old_row.tenant_id}} from old_row where {{old_row.tenant_id}} <> '';
        insert into signals.dirty_agent (tenant_id, agent_id)
        select distinct {{old_row.tenant_id}}, coalesce({{old_row.agent_id}}, 'unknown') from old_row
        where {{old_row.tenant_id}} <> '' and {{old_row.estimated_cost_usd}} is not null;
    else
        insert into signals.dirty_run (run_id, tenant_id)
        select distinct side.run_id, side.tenant_id
        from old_row
        full join new_row on {{new_row.id}} = {{old_row.id}}
        cross join lateral (
            values ({{old_row.id}}, {{old_row.tenant_id}}), ({{new_row.id}}, {{new_row.tenant_id}})
        ) as side (run_id, tenant_id)
        where
            row({{old_run}}) is distinct from row({{new_run}})
            and side.run_id is not null
            and side.tenant_id <> '';
        insert into signals.dirty_agent (tenant_id, agent_id)
        select distinct side.tenant_id, coalesce(side.agent_id, 'unknown')
        from old_row
        full join new_row on {{new_row.id}} = {{old_row.id}}
        cross join lateral (
            values
            ({{old_row.tenant_id}}, {{old_row.agent_id}}, {{old_row.estimated_cost_usd}}),
            ({{new_row.tenant_id}}, {{new_row.agent_id}}, {{new_row.estimated_cost_usd}})
        ) as side (tenant_id, agent_id, cost)
        where
            row({{old_cost}}) is distinct from row({{new_cost}})
            and side.tenant_id <> ''
            and side.cost is not null;
    end if;
    return null;
end
$$;

revoke all on function signals.mark_traces() from public;

revoke all on function signals.mark_steps() from public;

revoke all on function signals.mark_runs() from public;
