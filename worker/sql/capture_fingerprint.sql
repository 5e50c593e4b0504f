-- Whether triggers mark every change of what these views read, and a fingerprint that differs when they may not have.
-- reads: pg_catalog.pg_class, pg_catalog.pg_depend, pg_catalog.pg_rewrite, pg_catalog.pg_trigger, pg_catalog.pg_proc,
--     pg_catalog.pg_subscription_rel
-- grain: one row; fingerprint is NULL unless each table has its three triggers, enabled always (ADR 0005)
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
            count(*) = cardinality(cast(:views as text[]))
            and bool_and(
                coalesce(mark_trigger.enabled, 0) = 3
                and not source_table.has_parts
                and not source_table.is_subscribed
            )
            then md5(
                string_agg(
                    concat_ws(
                        ':', source_table.oid, source_table.relname, source_table.relfilenode, mark_trigger.versions
                    ),
                    ';'
                    order by source_table.oid
                )
            )
    end as fingerprint
from source_table
left join mark_trigger on mark_trigger.tgrelid = source_table.oid
