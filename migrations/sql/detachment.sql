create table signals.detachment (
    detached_at timestamptz default clock_timestamp() not null,
    revision text not null,
    captured text[] not null,
    indexes text[] not null
);

comment on column signals.detachment.captured is 'Our names of the tables that had triggers of ours';

comment on column signals.detachment.indexes is 'Our indexes on the host''s tables, as statements';

create table signals.detached_grant (
    position integer not null,
    view_name text not null,
    owner text not null,
    column_name text,
    grantee text,
    privilege text not null,
    is_grantable boolean not null
);

comment on column signals.detached_grant.grantee is 'NULL is everybody';

grant select on signals.detachment to activity_worker;
