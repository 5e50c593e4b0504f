create table signals.movement (
    tenant_id text collate "C" not null,
    signal text not null,
    version bigint not null,
    marks text[] not null,
    entered bigint[] not null,
    lengths integer[] not null,
    departed text not null,
    constraint pk_movement primary key (tenant_id, signal),
    constraint ck_movement_known_signal check (signal in ('patterns', 'cost', 'attention'))
);

comment on column signals.movement.version is 'The version of the snapshot that it goes with';

comment on column signals.movement.marks is 'What each item carries, in the items'' order: JSON, open';

comment on column signals.movement.entered is 'The refresh of the slot at which each item entered';

comment on column signals.movement.lengths is 'Characters of each item within the content';

comment on column signals.movement.departed is 'What left with this version: a JSON array';

create table signals.item_state (
    tenant_id text collate "C" not null,
    signal text not null,
    fingerprint text collate "C" not null,
    key jsonb not null,
    value numeric not null,
    severity numeric not null,
    mark numeric not null,
    traits text[] not null,
    first_seen_at timestamptz not null,
    entered_refresh bigint not null,
    changed_at timestamptz not null,
    left_at timestamptz,
    constraint pk_item_state primary key (tenant_id, signal, fingerprint),
    constraint ck_item_state_known_signal check (signal in ('patterns', 'cost', 'attention')),
    constraint ck_item_state_fingerprint_hex check (fingerprint ~ '^[0-9a-f]{32}$')
);

create index ix_item_state_present on signals.item_state (tenant_id, signal) where left_at is null;

create index ix_item_state_changed on signals.item_state (tenant_id, signal, changed_at);

create index ix_item_state_left on signals.item_state (left_at) where left_at is not null;

comment on column signals.item_state.value is 'As of the last change';

comment on column signals.item_state.severity is 'What rises and falls; moves with no clock';

comment on column signals.item_state.mark is 'The least severity since it entered or last worsened';

comment on column signals.item_state.traits is 'Gaining one is worsening, whatever the severity';

comment on column signals.item_state.left_at is 'NULL while it is there';

create table signals.signal_change (
    tenant_id text collate "C" not null,
    change_no bigint not null,
    signal text not null,
    fingerprint text collate "C" not null,
    key jsonb not null,
    kind text not null,
    rank integer,
    previous_rank integer,
    value numeric,
    previous_value numeric,
    severity numeric,
    previous_severity numeric,
    at timestamptz not null,
    version bigint not null,
    recorded_at timestamptz not null default clock_timestamp(),
    constraint pk_signal_change primary key (tenant_id, change_no),
    constraint ck_signal_change_change_no_positive check (change_no > 0),
    constraint ck_signal_change_known_signal check (signal in ('patterns', 'cost', 'attention')),
    constraint ck_signal_change_known_kind check (kind in ('entered', 'left', 'rose', 'fell', 'worsened'))
);

create index ix_signal_change_item on signals.signal_change (tenant_id, signal, fingerprint, at);

create index ix_signal_change_recorded_at on signals.signal_change (recorded_at);

comment on column signals.signal_change.change_no is 'From 1 per tenant, no gaps, in the order of commits';

comment on column signals.signal_change.rank is 'NULL when it left, or stands beyond the items that are stored';

comment on column signals.signal_change.previous_rank is 'In the version before';

comment on column signals.signal_change.previous_value is 'As of the change before';

comment on column signals.signal_change.at is 'as_of of the refresh that saw it';

create table signals.change_counter (
    tenant_id text collate "C" not null,
    last_no bigint not null,
    stream text not null default gen_random_uuid()::text,
    constraint pk_change_counter primary key (tenant_id),
    constraint ck_change_counter_last_no_not_negative check (last_no >= 0)
);

comment on column signals.change_counter.stream is 'Differs when the numbers began anew';

create function signals.item_fingerprint(signal text, key jsonb) returns text
language sql stable parallel safe
return left(encode(sha256(convert_to(signal || ' ' || cast(key as text), 'UTF8')), 'hex'), 32);

revoke all on function signals.item_fingerprint(text, jsonb) from public;

grant execute on function signals.item_fingerprint(text, jsonb) to activity_worker;

alter table signals.freshness add column refreshes bigint not null default 0;

comment on column signals.freshness.refreshes is 'How often the slot was confirmed';

delete from signals.fact_state;

update signals.snapshot set basis = '';
