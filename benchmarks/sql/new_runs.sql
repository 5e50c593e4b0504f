-- New runs of the last minutes, spread over the tenants by their sizes, with traces and steps like those of the scale.
-- Binds: runs, round, as_of, span_s. One statement per run would be what a host does; the rows are the same.
create temporary table new_run on commit drop as
select
    'new_' || cast(:round as text) || '_' || row_number() over () as run_id,
    picked.tenant_id,
    picked.agent_id,
    -- Before the last tick: by their start the next one would find them once more.
    cast(:as_of as timestamptz) - (1 + random()) * make_interval(secs => cast(:span_s as double precision)) as started_at,
    row_number() over () as run_number,
    random() as draw
from (
    select
        tenant_id,
        agent_id
    from runs
    order by random()
    limit cast(:runs as integer)
) as picked;

insert into runs (
    id, tenant_id, agent_id, is_synthetic, source, provider_type, state, status, started_at, last_seen_at, completed_at,
    duration_ms, risk_level, latency_bucket, evidence_health, incident_count, policy_violation, estimated_cost_usd, goal
)
select
    run_id,
    tenant_id,
    agent_id,
    false,
    'sdk',
    'anthropic',
    'COMPLETED',
    'succeeded',
    started_at,
    started_at,
    cast(:as_of as timestamptz),
    5000,
    case when draw < 0.92 then 'NORMAL' else 'AT_RISK' end,
    case when draw < 0.93 then 'OK' else 'SLOW' end,
    'FLOWING',
    0,
    false,
    round(cast(0.01 + draw as numeric), 6),
    repeat('goal ', 12)
from new_run;

insert into aos_traces (trace_id, run_id, tenant_id, started_at, status)
select
    'trace_' || run_id,
    run_id,
    tenant_id,
    started_at,
    'done'
from new_run;

insert into aos_trace_steps (
    trace_id, step_index, skill_id, skill_name, status, outcome_category, outcome_code, cost_cents, duration_ms,
    retry_count, "timestamp"
)
select
    'trace_' || new_run.run_id,
    step_index,
    'skill_' || cast(floor(random() * 60) as integer),
    'Skill',
    'ok',
    'SUCCESS',
    'OK_200',
    random() * 3,
    case when random() < 0.01 then 6000 else random() * 3000 end,
    case when random() < 0.03 then 2 else 0 end,
    new_run.started_at + step_index * interval '2 s'
from new_run
cross join lateral generate_series(0, 3 + cast(floor(new_run.draw * 17) as integer)) as step_index;
