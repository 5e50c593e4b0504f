-- Whether triggers mark every change of these tables, and a fingerprint that differs when they may not have (ADR 0005).
-- reads: pg_catalog.pg_class, pg_catalog.pg_trigger, pg_catalog.pg_proc, pg_catalog.pg_subscription_rel
-- grain: one row; fingerprint is NULL unless each table has its three triggers, enabled always
-- params: tables
with source_table as (
    select
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
    from unnest(cast(:tables as text[])) as listed (name)
    inner join pg_catalog.pg_class on pg_class.oid = to_regclass(listed.name)
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
)

select
    case
        when
            count(*) = cardinality(cast(:tables as text[]))
            and bool_and(
                coalesce(mark_trigger.enabled, 0) = 3
                and not source_table.has_parts
                and not source_table.is_subscribed
            )
            then md5(
                string_agg(
                    concat_ws(':', source_table.oid, source_table.relfilenode, mark_trigger.versions), ';'
                    order by source_table.relname
                )
            )
    end as fingerprint
from source_table
left join mark_trigger on mark_trigger.tgrelid = source_table.oid
