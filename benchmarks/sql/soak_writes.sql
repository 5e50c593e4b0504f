-- What hosts write during the soak: new runs with steps, completions, edits, late steps, moves and deletions.
-- Binds: label, draw.
insert into runs (id, tenant_id, agent_id, goal, state, started_at, last_seen_at, risk_level)
select
    'soak-' || :label || '-' || n,
    'tenant_' || lpad(cast(1 + cast(floor(cast(:draw as double precision) * 199) + n as integer) % 200 as text), 5, '0'),
    'agent_' || n % 5,
    'goal',
    'LIVE',
    clock_timestamp(),
    clock_timestamp(),
    case when n % 4 = 0 then 'AT_RISK' else 'NORMAL' end
from generate_series(1, 5) as n;

insert into aos_traces (trace_id, run_id, tenant_id, started_at)
select
    'soak-' || :label || '-' || n,
    'soak-' || :label || '-' || n,
    'tenant_' || lpad(cast(1 + cast(floor(cast(:draw as double precision) * 199) + n as integer) % 200 as text), 5, '0'),
    clock_timestamp()
from generate_series(1, 5) as n;

insert into aos_trace_steps (trace_id, step_index, skill_id, duration_ms, retry_count)
select
    trace_id,
    coalesce((select max(step_index) from aos_trace_steps as s where s.trace_id = t.trace_id), 0) + n,
    'skill_' || n % 3,
    n * 1500,
    n % 3
from (
    select trace_id
    from aos_traces
    where started_at > now() - interval '10 minutes' and trace_id like 'soak-%'
    order by md5(trace_id || cast(:draw as text))
    limit 5
) as t
cross join generate_series(1, 8) as n
on conflict do nothing;

update runs set
    state = 'COMPLETED',
    completed_at = clock_timestamp(),
    estimated_cost_usd = cast(:draw as numeric)
where id in (
    select id from runs
    where state = 'LIVE' and id like 'soak-%'
    order by started_at
    limit 5
    for update skip locked
);

update runs set last_seen_at = clock_timestamp()
where id in (select id from runs where state = 'LIVE' and id like 'soak-%' limit 5 for update skip locked);

update runs set tenant_id = 'tenant_00150', risk_level = 'VIOLATED'
where id in (
    select id from runs
    where id like 'soak-%' and started_at > now() - interval '5 minutes'
    order by md5(id || cast(:draw as text))
    limit 1
    for update skip locked
);

delete from runs
where id in (
    select id from runs
    where id like 'soak-%'
    order by started_at
    limit 1
    for update skip locked
);
