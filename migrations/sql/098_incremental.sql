create function signals.slot_of(tenant text) returns integer
language sql immutable parallel safe
return cast(hashtextextended(tenant collate "C", 0) & 63 as integer);

revoke all on function signals.slot_of(text) from public;

grant execute on function signals.slot_of(text) to activity_worker, activity_reader;

alter table signals.freshness rename column shard to slot;

alter table signals.freshness add constraint ck_freshness_known_slot check (slot between 0 and 63);

alter table signals.freshness set (fillfactor = 50);

-- What answered for every tenant now answers for each slot: readers notice nothing.
insert into signals.freshness
select
    signal, number, as_of, verified_at, period_s, window_json, empty_content, rule_version, fence, refresh_id
from signals.freshness
cross join generate_series(1, 63) as number
where slot = 0;

comment on column signals.freshness.as_of is 'The instant that the slot''s snapshots answer for';

comment on column signals.freshness.verified_at is 'When every tenant of the slot was last confirmed';

alter table signals.refresh
    add column shards smallint default '1' not null,
    add column is_full boolean default false not null,
    add column method text,
    add column marks bigint,
    add column drift integer,
    add constraint ck_refresh_known_method check (method in ('incremental', 'full')),
    add constraint ck_refresh_shard_of_shards check (shard >= 0 and shard < shards);

comment on column signals.refresh.shards is 'How many shards there were';

comment on column signals.refresh.is_full is 'Asked to read every row anew';

comment on column signals.refresh.method is 'incremental, or full where every row was read';

comment on column signals.refresh.marks is 'Change marks that were consumed';

comment on column signals.refresh.drift is 'Tenants that a reconcile had to repair; NULL where nothing was compared';

create index ix_snapshot_as_of on signals.snapshot (as_of) where signal = 'attention';

create table signals.dirty_trace (
    trace_id text collate "C" not null,
    tenant_id text collate "C"
)
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

comment on column signals.dirty_trace.tenant_id is 'The tenant that the trace left; NULL is the one that it has now';

create table signals.dirty_agent (
    tenant_id text collate "C" not null,
    agent_id text collate "C" not null
)
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

create table signals.dirty_run (
    run_id text collate "C" not null,
    tenant_id text collate "C" not null
)
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

create table signals.fact_state (
    signal text not null,
    slot smallint not null,
    as_of timestamptz not null,
    capture text not null,
    rules text not null,
    constraint pk_fact_state primary key (signal, slot),
    constraint ck_fact_state_known_slot check (slot between 0 and 63)
)
with (fillfactor = 50);

comment on column signals.fact_state.as_of is 'The instant that the facts of the slot hold for';

comment on column signals.fact_state.capture is 'Fingerprint of the triggers that have marked every change since';

comment on column signals.fact_state.rules is 'Rule version and parameters that the facts were made with';

create table signals.trace_fact (
    tenant_id text collate "C" not null,
    run_id text collate "C" not null,
    trace_id text collate "C" not null,
    skill_id text collate "C",
    started_at timestamptz not null,
    uses bigint not null,
    repeats bigint not null,
    retried_steps bigint not null,
    total_retries bigint,
    max_step_retries bigint,
    slow_steps bigint not null,
    slow_ms numeric,
    non_finite_durations bigint not null,
    constraint uq_trace_fact_trace_id_tenant_id_skill_id unique (trace_id, tenant_id, skill_id)
)
with (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 80);

create index ix_trace_fact_run_id on signals.trace_fact (run_id);

create index ix_trace_fact_started_at on signals.trace_fact (started_at);

create table signals.run_pattern (
    tenant_id text collate "C" not null,
    pattern_type text not null,
    strength bigint not null,
    run_id text collate "C" not null,
    skill_id text collate "C",
    retry_count bigint,
    max_step_retries bigint,
    total_retries bigint,
    slow_step_count bigint,
    avg_duration_ms numeric,
    constraint uq_run_pattern_run_id_tenant_id_pattern_type_skill_id unique (run_id, tenant_id, pattern_type, skill_id)
)
with (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 80);

create index ix_run_pattern_strongest on signals.run_pattern (tenant_id, pattern_type, strength desc, run_id, skill_id);

create table signals.agent_cost (
    tenant_id text collate "C" not null,
    agent_id text collate "C" not null,
    current_avg_cost numeric,
    total_cost numeric,
    run_count bigint not null,
    baseline_avg numeric,
    baseline_p95 double precision,
    baseline_stddev numeric,
    baseline_run_count bigint not null,
    non_finite_costs bigint not null,
    constraint pk_agent_cost primary key (tenant_id, agent_id)
)
with (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 80);

create table signals.attention_fact (
    tenant_id text collate "C" not null,
    run_id text collate "C" not null,
    risk_score numeric not null,
    impact_score numeric not null,
    latency_score numeric not null,
    evidence_score numeric not null,
    state text,
    status text,
    started_at timestamptz,
    completed_at timestamptz,
    heartbeat_at timestamptz,
    constraint pk_attention_fact primary key (run_id, tenant_id)
)
with (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 80);

create index ix_attention_fact_completed_at on signals.attention_fact (completed_at);

create index ix_attention_fact_heartbeat_at on signals.attention_fact (heartbeat_at);

create index ix_attention_fact_started_at on signals.attention_fact (started_at);

create index ix_attention_fact_tenant_id on signals.attention_fact (tenant_id);

comment on column signals.attention_fact.heartbeat_at is 'The last sign of life, or the start';
