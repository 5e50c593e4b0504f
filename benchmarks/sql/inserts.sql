-- What a recorder writes for the agent runs `first` to `last`: the run, its trace and twelve steps.
-- Binds: label, first, last.
insert into runs (id, tenant_id, agent_id, goal, state, started_at, completed_at, estimated_cost_usd)
select
    :label || '-' || run_number,
    'tenant_' || run_number % 20,
    'agent_' || run_number % 7,
    'goal',
    'COMPLETED',
    now(),
    now(),
    0.1
from generate_series(cast(:first as integer), cast(:last as integer)) as run_number;

insert into aos_traces (trace_id, run_id, tenant_id, started_at)
select
    :label || '-' || run_number,
    :label || '-' || run_number,
    'tenant_' || run_number % 20,
    now()
from generate_series(cast(:first as integer), cast(:last as integer)) as run_number;

insert into aos_trace_steps (trace_id, step_index, skill_id, duration_ms, retry_count)
select
    :label || '-' || run_number,
    step_index,
    'skill_' || step_index % 5,
    100,
    0
from generate_series(cast(:first as integer), cast(:last as integer)) as run_number
cross join generate_series(1, 12) as step_index;
