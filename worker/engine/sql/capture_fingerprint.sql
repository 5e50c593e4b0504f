-- Whether triggers mark every change of what these views read, and a fingerprint that differs when they may not have.
-- reads: pg_catalog.pg_class, pg_catalog.pg_depend, pg_catalog.pg_rewrite, pg_catalog.pg_trigger, pg_catalog.pg_proc,
--     pg_catalog.pg_subscription_rel, pg_catalog.pg_extension, pg_catalog.pg_replication_origin,
--     pg_catalog.pg_stat_activity
-- grain: one row; fingerprint is NULL unless each table has its three triggers, enabled always, and no apply worker
--     writes past them (ADR 0005); losses says in words why it is; is_installed tells whether capture was asked for
-- params: views
with source_table as (
    select distinct
        pg_class.oid,
        pg_class.relname,
        -- TRUNCATE and a rewrite of the table, which pass the triggers by, change it.
        pg_class.relfilenode,
        pg_class.relkind = 'p' or pg_class.relispartition or pg_class.relhassubclass as has_parts,
        -- A subscription's changes fire no statement trigger.
        exists(
            select from pg_catalog.pg_subscription_rel
            where pg_subscription_rel.srrelid = pg_class.oid
        ) as is_subscribed
    from unnest(cast(:views as text[])) as listed (name)
    -- The view knows its table, whatever that is named.
    inner join pg_catalog.pg_rewrite on pg_rewrite.ev_class = to_regclass('signals.' || listed.name)
    inner join pg_catalog.pg_depend
        on
            pg_depend.classid = cast('pg_rewrite' as regclass)
            and pg_depend.objid = pg_rewrite.oid
            and pg_depend.refclassid = cast('pg_class' as regclass)
            and pg_depend.refobjid <> pg_rewrite.ev_class
    inner join pg_catalog.pg_class on pg_class.oid = pg_depend.refobjid
),

-- Extensions whose apply workers write to tables without statement triggers. Their catalogues need rights. A
-- replication origin, which bears the name of the subscriber's database, and the name of a session do not.
apply_extension as (
    select pg_extension.extname
    from (
        values
        ('pglogical', 'pgl_', false), ('spock', 'spk_', false), ('bdr', 'bdr_', true), ('pgactive', 'pgactive_', true)
    ) as known (name, origin, is_always_applied)
    inner join pg_catalog.pg_extension on pg_extension.extname = known.name
    where
        -- Every node of a multi-master group applies the others' changes.
        known.is_always_applied
        or exists (
            select from pg_catalog.pg_replication_origin
            where
                -- What is no lower-case letter or digit is replaced, and of a long name eight characters are kept.
                starts_with(
                    pg_replication_origin.roname,
                    known.origin || case
                        when length(current_database()) < 16
                            then regexp_replace(current_database(), '[^a-z0-9_]', '_', 'g') || '_'
                        else left(regexp_replace(current_database(), '[^a-z0-9_]', '_', 'g'), 8)
                    end
                )
        )
        or exists (
            select from pg_catalog.pg_stat_activity
            where
                pg_stat_activity.datname = current_database()
                and starts_with(pg_stat_activity.application_name, known.name || ' apply')
        )
),

mark_trigger as (
    select
        pg_trigger.tgrelid,
        count(*) filter (where pg_trigger.tgenabled = 'A') as enabled,
        -- Disabled for a while or replaced: the catalogue's row is another version.
        string_agg(
            concat_ws(':', pg_trigger.oid, pg_trigger.xmin, pg_proc.oid, pg_proc.xmin), ',' order by pg_trigger.oid
        ) as versions
    from pg_catalog.pg_trigger
    inner join pg_catalog.pg_proc on pg_proc.oid = pg_trigger.tgfoid
    where
        not pg_trigger.tgisinternal
        and pg_trigger.tgname like 'signals\_%'
        and pg_proc.pronamespace = to_regnamespace('signals')
    group by pg_trigger.tgrelid
),

loss as (
    select
        1 as place,
        cast(cast(source_table.oid as regclass) as text) || ': ' || reason.words as words
    from source_table
    left join mark_trigger on mark_trigger.tgrelid = source_table.oid
    cross join
        lateral (
            values
            (
                coalesce(mark_trigger.enabled, 0) <> 3,
                coalesce(mark_trigger.enabled, 0)
                || ' of 3 triggers are enabled ALWAYS; `activity capture install` restores them'
            ),
            (source_table.has_parts, 'it is partitioned or inherited from, and writes to a part fire no trigger'),
            (source_table.is_subscribed, 'a logical replication subscription writes to it without firing triggers')
        ) as reason (is_there, words)
    where reason.is_there
    union all
    select
        2,
        'an apply worker of the extension ' || apply_extension.extname
        || ' writes to this database without firing triggers'
    from apply_extension
    union all
    select
        3,
        'a source view is missing, or reads no table or several'
    from (select count(*) as tables from source_table) as counted
    where counted.tables <> cardinality(cast(:views as text[]))
)

select
    case
        when not exists (select from loss)
            then md5(
                string_agg(
                    concat_ws(
                        ':', source_table.oid, source_table.relname, source_table.relfilenode, mark_trigger.versions
                    ),
                    ';'
                    order by source_table.oid
                )
            )
    end as fingerprint,
    (select coalesce(array_agg(loss.words order by loss.place asc, loss.words asc), '{}') from loss) as losses,
    exists(
        select from pg_catalog.pg_proc
        where pg_proc.pronamespace = to_regnamespace('signals') and pg_proc.proname like 'mark\_%'
    ) as is_installed
from source_table
left join mark_trigger on mark_trigger.tgrelid = source_table.oid
