alter table signals.fact_state add column replaced text [] not null default '{}';

comment on column signals.fact_state.replaced is
'Hashes of the rules that made the facts before, the latest first';

create index ix_refresh_running on signals.refresh (signal) where state = 'running';
