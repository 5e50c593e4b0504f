drop index signals.ix_snapshot_as_of;

delete from signals.freshness where slot > 0;

alter table signals.freshness drop constraint ck_freshness_known_slot;

alter table signals.freshness reset (fillfactor);

alter table signals.freshness rename column slot to shard;

comment on column signals.freshness.as_of is 'The instant that the shard''s snapshots answer for';

comment on column signals.freshness.verified_at is 'When every tenant of the shard was last confirmed';

alter table signals.refresh
    drop column shards,
    drop column is_full,
    drop column method,
    drop column marks,
    drop column drift;

drop function signals.slot_of(text);
