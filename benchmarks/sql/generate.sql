-- Data of the shape that docs/performance.md describes: Zipf-sized tenants, 12.4 steps per run, 3 % of runs with two traces.
-- Binds: runs, tenants, days, as_of. Rows are dated back from as_of.
create temporary table tenant_size on commit drop as
select
    tenant_number,
    'tenant_' || lpad(cast(tenant_number as text), 5, '0') as tenant_id,
    cast(greatest(1, round(
        cast(:runs as numeric) / tenant_number
        / (select sum(1.0 / n) from generate_series(1, cast(:tenants as integer)) as n)
    )) as integer) as run_count
from generate_series(1, cast(:tenants as integer)) as tenant_number;

create temporary table sampled_run on commit drop as
select
    row_number() over () as run_number,
    sampled.*
from (
    select
        tenant_size.tenant_id,
        tenant_size.run_count,
        cast(:as_of as timestamptz) - random() * make_interval(days => cast(:days as integer)) as started_at,
        cast(2000 * exp(random() * 3 + random() * 3 + random() * 1.6) as bigint) as duration_ms,
        random() as agent_draw,
        random() as kind_draw,
        random() as status_draw,
        random() as risk_draw,
        random() as latency_draw,
        random() as length_draw
    from tenant_size
    cross join lateral generate_series(1, tenant_size.run_count)
    order by started_at
) as sampled;

insert into runs (
    id, tenant_id, project_id, agent_id, is_synthetic, source, provider_type, state, status, started_at, last_seen_at,
    completed_at, duration_ms, risk_level, latency_bucket, evidence_health, integrity_status, incident_count,
    policy_draft_count, policy_violation, input_tokens, output_tokens, estimated_cost_usd, goal
)
select
    'run_' || left(md5('r' || run_number), 24),
    tenant_id,
    'proj_' || (run_number % 4),
    case
        when kind_draw >= 0.03
            then 'agent_' || lpad(
                cast(floor(agent_draw * agent_draw * (1 + sqrt(run_count) / 3)) as text), 3, '0'
            )
    end,
    kind_draw < 0.08,
    (array['sdk', 'api', 'schedule', 'webhook'])[1 + run_number % 4],
    (array['anthropic', 'openai', 'internal', 'google'])[1 + cast(floor(agent_draw * agent_draw * 4) as integer)],
    case when is_live then 'LIVE' else 'COMPLETED' end,
    case
        when is_live then 'running'
        when status_draw < 0.9 then 'succeeded'
        when status_draw < 0.97 then 'failed'
        when status_draw < 0.99 then 'aborted'
        else 'retry'
    end,
    started_at,
    least(ended_at, cast(:as_of as timestamptz)),
    case when not is_live then ended_at end,
    case when not is_live then duration_ms end,
    case
        when risk_draw < 0.92 then 'NORMAL'
        when risk_draw < 0.96 then 'NEAR_THRESHOLD'
        when risk_draw < 0.99 then 'AT_RISK'
        else 'VIOLATED'
    end,
    case when latency_draw < 0.93 then 'OK' when latency_draw < 0.98 then 'SLOW' else 'STALLED' end,
    case
        when (run_number * 7919) % 100 < 95 then 'FLOWING'
        when (run_number * 7919) % 100 < 98 then 'DEGRADED'
        else 'MISSING'
    end,
    'VERIFIED',
    case when (run_number * 104729) % 100 < 2 then 1 else 0 end,
    0,
    (run_number * 15485863) % 100 = 3,
    cast(agent_draw * 4000 as integer),
    cast(kind_draw * 2000 as integer),
    case
        when run_number % 200 <> 0
            then round(cast((0.001 + exp(agent_draw * 2 + kind_draw * 2 + status_draw) * 0.01) as numeric), 6)
    end,
    repeat('goal ', 12)
from (
    select
        sampled_run.*,
        started_at + duration_ms * interval '1 ms' as ended_at,
        started_at + duration_ms * interval '1 ms' > cast(:as_of as timestamptz) as is_live
    from sampled_run
) as dated_run
order by run_number;

create temporary table sampled_trace on commit drop as
select
    sampled_run.run_number,
    trace_number,
    'tr_' || left(md5('t' || sampled_run.run_number || '_' || trace_number), 24) as trace_id,
    sampled_run.started_at + trace_number * interval '5 s' as started_at,
    4 + cast(floor(sampled_run.length_draw * 17) as integer) as step_count,
    (sampled_run.run_number * 2654435761) % 1000 as kind
from sampled_run
cross join lateral generate_series(0, case when sampled_run.run_number % 33 = 0 then 1 else 0 end) as trace_number;

insert into aos_traces (trace_id, run_id, tenant_id, started_at, status)
select
    sampled_trace.trace_id,
    'run_' || left(md5('r' || sampled_trace.run_number), 24),
    sampled_run.tenant_id,
    sampled_trace.started_at,
    'done'
from sampled_trace
inner join sampled_run on sampled_run.run_number = sampled_trace.run_number
order by sampled_trace.run_number, sampled_trace.trace_number;

insert into aos_trace_steps (
    trace_id, step_index, skill_id, skill_name, status, outcome_category, outcome_code, cost_cents, duration_ms,
    retry_count, "timestamp"
)
select
    drawn_step.trace_id,
    drawn_step.step_index,
    drawn_step.skill_id,
    'Skill ' || drawn_step.skill_id,
    'ok',
    'SUCCESS',
    'OK_200',
    drawn_step.first_draw * 3,
    case
        when drawn_step.kind between 20 and 29 and drawn_step.step_index % 3 = 0
            then 5001 + cast(drawn_step.second_draw * 20000 as integer)
        when drawn_step.second_draw < 0.004 then 6000 + cast(drawn_step.first_draw * 4000 as integer)
        else cast(drawn_step.second_draw * 3000 as integer)
    end,
    case
        when drawn_step.kind < 10 and drawn_step.step_index % 2 = 0
            then 1 + cast(floor(drawn_step.first_draw * 3) as integer)
        when drawn_step.first_draw < 0.02 then 1
        else 0
    end,
    drawn_step.started_at + drawn_step.step_index * interval '2 s'
from (
    select
        sampled_trace.trace_id,
        sampled_trace.kind,
        sampled_trace.started_at,
        step_index,
        random() as first_draw,
        random() as second_draw,
        case
            when sampled_trace.kind between 10 and 19
                and step_index >= 3
                and step_index < 6 + sampled_trace.run_number % 4
                then 'skill_llm_invoke'
            else 'skill_' || cast(floor(random() * 60) as integer)
        end as skill_id
    from sampled_trace
    cross join lateral generate_series(0, sampled_trace.step_count - 1) as step_index
) as drawn_step;
