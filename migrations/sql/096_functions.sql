create function signals.ensure_history_partition(day date) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    partition_name text := 'snapshot_history_' || to_char(day, 'YYYYMMDD');
    day_start timestamptz := timezone('UTC', day::timestamp);
    day_end timestamptz := timezone('UTC', (day + 1)::timestamp);
begin
    -- Nearly always it is there, and nothing is locked.
    if to_regclass('signals.' || partition_name) is not null then
        return false;
    end if;
    -- One session at a time, and no reader or writer waits. A lock on the table, since taking one makes a partition that
    -- another session just made visible to the next look; waiting for an advisory lock does not.
    lock table only signals.snapshot_history in share update exclusive mode;
    if to_regclass('signals.' || partition_name) is not null then
        return false;
    end if;
    execute format('create table signals.%I (like signals.snapshot_history including all)', partition_name);
    -- What arrived before its partition did moves into it; nothing more may arrive until it is attached.
    lock table signals.snapshot_history_default in access exclusive mode;
    execute format(
        'with moved as (delete from signals.snapshot_history_default'
        || ' where replaced_at >= %L and replaced_at < %L returning *) insert into signals.%I select * from moved',
        day_start, day_end, partition_name
    );
    execute format(
        'alter table signals.snapshot_history attach partition signals.%I for values from (%L) to (%L)',
        partition_name, day_start, day_end
    );
    return true;
end
$$;

create function signals.drop_history_before(day date) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    old_partition record;
    dropped integer := 0;
begin
    for old_partition in
        select child.relname
        from pg_inherits
        inner join pg_class as child on child.oid = pg_inherits.inhrelid
        where pg_inherits.inhparent = 'signals.snapshot_history'::regclass
            and child.relname ~ '^snapshot_history_[0-9]{8}$'
            and to_date(right(child.relname, 8), 'YYYYMMDD') < day
    loop
        execute format('drop table signals.%I', old_partition.relname);
        dropped := dropped + 1;
    end loop;
    delete from signals.snapshot_history_default where replaced_at < timezone('UTC', day::timestamp);
    return dropped;
end
$$;

revoke all on function signals.ensure_history_partition(date) from public;

revoke all on function signals.drop_history_before(date) from public;

grant execute on function signals.ensure_history_partition(date) to activity_worker;

grant execute on function signals.drop_history_before(date) to activity_worker;
