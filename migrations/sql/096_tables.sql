create sequence signals.fence as bigint;

create table signals.api_key (
    key_id text not null,
    tenant_id text collate "C" not null,
    secret_sha256 text not null,
    capabilities text[] not null,
    label text default '' not null,
    created_at timestamptz default clock_timestamp() not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    constraint pk_api_key primary key (key_id),
    constraint ck_api_key_tenant_named check (tenant_id <> ''),
    constraint ck_api_key_secret_hashed check (secret_sha256 ~ '^[0-9a-f]{64}$'),
    constraint ck_api_key_expires_after_creation check (expires_at > created_at)
);

create index ix_api_key_tenant_id on signals.api_key (tenant_id);

comment on column signals.api_key.key_id is 'The visible prefix of the key';

comment on column signals.api_key.secret_sha256 is 'Hex SHA-256 of the secret, which has 256 random bits';

create table signals.attention_item (
    tenant_id text collate "C" not null,
    rank integer not null,
    run_id text collate "C" not null,
    attention_score numeric not null,
    risk_contribution numeric not null,
    impact_contribution numeric not null,
    latency_contribution numeric not null,
    recency_contribution numeric not null,
    evidence_contribution numeric not null,
    reasons text[] not null,
    state text,
    status text,
    started_at timestamptz,
    is_abandoned boolean not null,
    constraint pk_attention_item primary key (tenant_id, rank),
    constraint uq_attention_item_tenant_id_run_id unique (tenant_id, run_id),
    constraint ck_attention_item_score_in_range check (attention_score between 0 and 1),
    constraint ck_attention_item_rank_in_top_hundred check (rank between 1 and 100)
);

create table signals.cost_item (
    tenant_id text collate "C" not null,
    rank integer not null,
    agent_id text collate "C" not null,
    current_avg_cost numeric not null,
    total_cost numeric not null,
    run_count bigint not null,
    baseline_avg numeric,
    baseline_p95 double precision,
    baseline_stddev numeric,
    baseline_run_count bigint not null,
    z_score numeric not null,
    is_anomaly boolean not null,
    constraint pk_cost_item primary key (tenant_id, agent_id),
    constraint uq_cost_item_tenant_id_rank unique (tenant_id, rank),
    constraint ck_cost_item_run_count_positive check (run_count > 0)
);

create table signals.freshness (
    signal text not null,
    shard smallint not null,
    as_of timestamptz not null,
    verified_at timestamptz not null,
    period_s integer not null,
    window_json text,
    empty_content text not null,
    rule_version text not null,
    fence bigint not null,
    refresh_id bigint not null,
    constraint pk_freshness primary key (signal, shard),
    constraint ck_freshness_period_positive check (period_s > 0)
);

comment on column signals.freshness.as_of is 'The instant that the shard''s snapshots answer for';

comment on column signals.freshness.verified_at is 'When every tenant of the shard was last confirmed';

comment on column signals.freshness.window_json is 'The `window` member of the body; NULL where the signal has none';

comment on column signals.freshness.empty_content is 'What a tenant without findings is served';

create table signals.pattern_item (
    tenant_id text collate "C" not null,
    pattern_type text not null,
    rank integer not null,
    run_id text collate "C" not null,
    skill_id text collate "C",
    retry_count bigint,
    max_step_retries bigint,
    total_retries bigint,
    oscillation_count bigint,
    loop_depth bigint,
    slow_step_count bigint,
    avg_duration_ms numeric,
    constraint pk_pattern_item primary key (tenant_id, pattern_type, rank),
    constraint ck_pattern_item_known_pattern check (pattern_type in ('retry_loop', 'step_oscillation', 'tool_call_loop', 'timeout_cascade')),
    constraint ck_pattern_item_rank_in_top_ten check (rank between 1 and 10)
);

comment on column signals.pattern_item.retry_count is 'Steps that were retried';

create table signals.refresh (
    refresh_id bigint generated always as identity,
    signal text not null,
    shard smallint default '0' not null,
    mode text not null,
    requested_by text not null,
    tenants text[],
    state text not null,
    requested_at timestamptz default clock_timestamp() not null,
    started_at timestamptz,
    finished_at timestamptz,
    as_of timestamptz,
    fence bigint,
    tenants_seen integer,
    tenants_changed integer,
    rows_changed bigint,
    error_class text,
    error text,
    constraint pk_refresh primary key (refresh_id),
    constraint ck_refresh_known_signal check (signal in ('patterns', 'cost', 'attention')),
    constraint ck_refresh_known_mode check (mode in ('tick', 'reconcile', 'manual')),
    constraint ck_refresh_known_state check (state in ('requested', 'running', 'succeeded', 'failed', 'coalesced')),
    constraint ck_refresh_finished_when_over check ((state in ('succeeded', 'failed', 'coalesced')) = (finished_at is not null))
);

create index ix_refresh_requested_at on signals.refresh (requested_at);

create index ix_refresh_signal_refresh_id on signals.refresh (signal, refresh_id);

comment on column signals.refresh.tenants is 'The tenants asked for; NULL is all of them';

create table signals.snapshot (
    tenant_id text collate "C" not null,
    signal text not null,
    version bigint not null,
    content text not null,
    items text[],
    basis text not null,
    shape text not null,
    window_json text,
    as_of timestamptz not null,
    computed_at timestamptz not null,
    rule_version text not null,
    fence bigint not null,
    refresh_id bigint not null,
    constraint pk_snapshot primary key (tenant_id, signal),
    constraint ck_snapshot_version_positive check (version > 0),
    constraint ck_snapshot_tenant_named check (tenant_id <> '')
)
 with (fillfactor = 60);

comment on column signals.snapshot.version is 'Counts the changes of content, from 1';

comment on column signals.snapshot.content is 'A JSON object without window and snapshot, ready to send';

comment on column signals.snapshot.items is 'The list''s items as JSON, for limits other than the default';

comment on column signals.snapshot.basis is 'Differs when the content does, the clock''s own movement aside';

comment on column signals.snapshot.shape is 'Differs when membership, order or reasons do';

create table signals.snapshot_history (
    tenant_id text collate "C" not null,
    signal text not null,
    version bigint not null,
    content text not null,
    items text[],
    window_json text,
    as_of timestamptz not null,
    computed_at timestamptz not null,
    rule_version text not null,
    replaced_at timestamptz not null,
    constraint pk_snapshot_history primary key (tenant_id, signal, version, replaced_at)
)
 partition by range (replaced_at);

comment on column signals.snapshot_history.replaced_at is 'as_of of the version that came after; the partition key';

create table signals.snapshot_history_default partition of signals.snapshot_history default;
