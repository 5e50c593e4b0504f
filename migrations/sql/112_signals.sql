create table signals.signal (
    name text not null,
    constraint pk_signal primary key (name)
);

comment on column signals.signal.name is 'A signal of this installation; `activity migrate` adds those of its version';

insert into signals.signal (name) values ('patterns'), ('cost'), ('attention');

create table signals.signal_item (
    tenant_id text collate "C" not null,
    signal text not null,
    rank integer not null,
    key jsonb not null,
    item text not null,
    constraint pk_signal_item primary key (tenant_id, signal, rank),
    constraint ck_signal_item_rank_positive check (rank > 0)
);

comment on column signals.signal_item.item is 'The item as served: a JSON object';
