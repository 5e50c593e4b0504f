create table signals.webhook (
    tenant_id text collate "C" not null,
    webhook_id bigint generated always as identity,
    url text not null,
    secret text not null,
    format text not null,
    signals text[] not null,
    kinds text[] not null,
    created_at timestamptz not null default clock_timestamp(),
    disabled_at timestamptz,
    last_no bigint not null,
    pending_no bigint,
    attempts integer not null default 0,
    retry_at timestamptz not null default clock_timestamp(),
    delivered_at timestamptz,
    error text,
    constraint pk_webhook primary key (webhook_id),
    constraint ck_webhook_tenant_named check (tenant_id <> ''),
    constraint ck_webhook_known_format check (format in ('standard', 'slack')),
    constraint ck_webhook_attempts_not_negative check (attempts >= 0)
);

create index ix_webhook_tenant_id on signals.webhook (tenant_id);

comment on column signals.webhook.secret is 'What its messages are signed with: needed as it is';

comment on column signals.webhook.last_no is 'The last change that is delivered, or in a dead letter';

comment on column signals.webhook.pending_no is 'The last change of the message that is under way: fixed until it is over';

comment on column signals.webhook.retry_at is 'Not tried before; also what keeps two workers off each other';

create table signals.dead_letter (
    tenant_id text collate "C" not null,
    letter_id bigint generated always as identity,
    webhook_id bigint not null,
    message_id text not null,
    first_no bigint not null,
    last_no bigint not null,
    attempts integer not null,
    error text not null,
    died_at timestamptz not null default clock_timestamp(),
    constraint pk_dead_letter primary key (letter_id)
);

create index ix_dead_letter_died_at on signals.dead_letter (died_at);

comment on column signals.dead_letter.first_no is 'The changes that the message told of, as signal_change numbers them';
