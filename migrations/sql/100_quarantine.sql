create table signals.quarantine (
    signal text not null,
    tenant_id text collate "C" not null,
    failures integer not null,
    error_class text not null,
    error text not null,
    first_failed_at timestamptz not null,
    last_failed_at timestamptz not null,
    retry_at timestamptz not null,
    as_of timestamptz,
    window_json text,
    constraint pk_quarantine primary key (signal, tenant_id),
    constraint ck_quarantine_known_signal check (signal in ('patterns', 'cost', 'attention')),
    constraint ck_quarantine_failures_positive check (failures > 0),
    constraint ck_quarantine_tenant_named check (tenant_id <> '')
);

comment on column signals.quarantine.failures is 'Attempts in a row that failed';

comment on column signals.quarantine.as_of is 'The instant that its snapshot was last confirmed for';

alter table signals.refresh add column tenants_failed integer;

comment on column signals.refresh.tenants_failed is 'Tenants that were left out, since their data breaks a query';
