-- The parts of schema signals that differ by damage alone: one row each, with the statement that makes it again.
-- What depends on the host (the definitions of views over its tables, the functions of change capture, the partitions
-- of a month) is left out. {owner} stands for the owner of the table.
with ours as (
    select
        relation.*,
        format('signals.%I', relation.relname) as full_name
    from pg_catalog.pg_class as relation
    where
        relation.relnamespace = to_regnamespace('signals')
        and (not relation.relispartition or relation.relname = 'snapshot_history_default')
        -- Of a detached host.
        and relation.relname not in ('detachment', 'detached_grant', 'alembic_version_pkc')
),

tables as (
    select * from ours where relkind in ('r', 'p')
),

groups as (
    select
        oid,
        rolname
    from pg_catalog.pg_roles
    where rolname in ('activity_worker', 'activity_authenticator', 'activity_reader', 'activity_triage', 'activity_ingest')
)

select
    'table' as kind,
    relname::text as relation,
    null::text as role,
    full_name as name,
    relkind::text as state,
    null::text as repair
from tables
union all
select
    'row security',
    relname::text,
    null,
    full_name,
    'forced',
    format('alter table %s enable row level security, force row level security', full_name)
from tables
where relrowsecurity and relforcerowsecurity
union all
select
    'policy',
    tables.relname::text,
    shown.roles,
    format('%I on %s', policy.polname, tables.full_name),
    format('%s %s to %s using (%s) check (%s)', shown.manner, shown.command, shown.roles, shown.using, shown.checked),
    format(
        'create policy %I on %s as %s for %s to %s%s%s', policy.polname, tables.full_name, shown.manner, shown.command,
        shown.roles, ' using (' || shown.using || ')', ' with check (' || shown.checked || ')'
    )
from tables
inner join pg_catalog.pg_policy as policy on policy.polrelid = tables.oid
cross join lateral (
    select
        case when policy.polpermissive then 'permissive' else 'restrictive' end as manner,
        case policy.polcmd
            when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all'
        end as command,
        pg_get_expr(policy.polqual, policy.polrelid) as using,
        pg_get_expr(policy.polwithcheck, policy.polrelid) as checked,
        (
            select string_agg(each.name, ', ' order by each.name)
            from (
                select
                    case
                        when member = 0 then 'public'
                        when member = tables.relowner then '{owner}'
                        else pg_get_userbyid(member)::text
                    end as name
                from unnest(policy.polroles) as member
            ) as each
        ) as roles
) as shown
union all
select
    'grant',
    ours.relname::text,
    groups.rolname::text,
    held.privilege || ' on ' || held.target || ' to ' || groups.rolname,
    '',
    'grant ' || held.privilege || ' on ' || held.target || ' to ' || groups.rolname
from ours
cross join lateral (
    select
        acl.grantee,
        lower(acl.privilege_type) as privilege,
        case when ours.relkind = 'S' then 'sequence ' else '' end || ours.full_name as target
    from aclexplode(ours.relacl) as acl
    union all
    select
        acl.grantee,
        format('%s (%I)', lower(acl.privilege_type), attribute.attname),
        ours.full_name
    from pg_catalog.pg_attribute as attribute
    cross join lateral aclexplode(attribute.attacl) as acl
    where attribute.attrelid = ours.oid and not attribute.attisdropped
) as held
inner join groups on groups.oid = held.grantee
union all
select
    'grant',
    null,
    groups.rolname::text,
    'usage on schema signals to ' || groups.rolname,
    '',
    'grant usage on schema signals to ' || groups.rolname
from groups
where has_schema_privilege(groups.oid, to_regnamespace('signals'), 'usage')
union all
select
    'grant',
    null,
    groups.rolname::text,
    'temporary on the database to ' || groups.rolname,
    '',
    'grant temporary on database {database} to ' || groups.rolname
from groups
where
    groups.rolname in ('activity_worker', 'activity_ingest')
    and has_database_privilege(groups.oid, current_database(), 'temporary')
union all
select
    'grant',
    null,
    groups.rolname::text,
    'execute on function ' || routine.oid::regprocedure || ' to ' || groups.rolname,
    '',
    'grant execute on function ' || routine.oid::regprocedure || ' to ' || groups.rolname
from pg_catalog.pg_proc as routine
cross join lateral aclexplode(routine.proacl) as acl
inner join groups on groups.oid = acl.grantee
where routine.pronamespace = to_regnamespace('signals')
union all
select
    'function',
    null,
    null,
    routine.oid::regprocedure::text,
    md5(coalesce(nullif(routine.prosrc, ''), pg_get_function_sqlbody(routine.oid))),
    pg_get_functiondef(routine.oid) || case
        when routine.proacl is not null and not exists (
            select 1 from aclexplode(routine.proacl) as acl where acl.grantee = 0
        ) then format('; revoke execute on function %s from public', routine.oid::regprocedure) else ''
    end
from pg_catalog.pg_proc as routine
where routine.pronamespace = to_regnamespace('signals') and routine.proname not like 'mark\_%'
union all
select
    'constraint',
    tables.relname::text,
    null,
    format('%I on %s', con.conname, tables.full_name),
    pg_get_constraintdef(con.oid),
    format('alter table %s add constraint %I %s', tables.full_name, con.conname, pg_get_constraintdef(con.oid))
from tables
inner join pg_catalog.pg_constraint as con on con.conrelid = tables.oid
where con.contype in ('p', 'u', 'c', 'f', 'x') and not tables.relispartition
union all
select
    'index',
    tables.relname::text,
    null,
    format('signals.%I', relation.relname),
    '',
    pg_get_indexdef(entry.indexrelid)
from tables
inner join pg_catalog.pg_index as entry on entry.indrelid = tables.oid
inner join pg_catalog.pg_class as relation on relation.oid = entry.indexrelid
where
    entry.indisvalid
    and not tables.relispartition
    and not exists (select 1 from pg_catalog.pg_constraint as con where con.conindid = entry.indexrelid)
union all
select
    'sequence',
    null,
    null,
    ours.full_name,
    '',
    case when ours.relname = 'fence' then 'create sequence signals.fence as bigint' end
from ours
where ours.relkind = 'S'
union all
select
    'trigger',
    tables.relname::text,
    null,
    format('%I on %s', entry.tgname, tables.full_name),
    entry.tgenabled::text,
    pg_get_triggerdef(entry.oid) || case entry.tgenabled
        when 'A' then format('; alter table %s enable always trigger %I', tables.full_name, entry.tgname) else ''
    end
from tables
inner join pg_catalog.pg_trigger as entry on entry.tgrelid = tables.oid
where not entry.tgisinternal
union all
select
    'view',
    ours.relname::text,
    null,
    ours.full_name,
    case when 'security_barrier=true' = any(ours.reloptions) then 'security barrier' else '' end,
    case
        when ours.relname like 'source\_%' or ours.relname like 'tenant\_%' then null
        else
            format('create view %s%s as ', ours.full_name, case
                when 'security_barrier=true' = any(ours.reloptions) then ' with (security_barrier = true)' else ''
            end) || rtrim(pg_get_viewdef(ours.oid), ';')
    end
from ours
where ours.relkind = 'v'
union all
select
    'detached',
    null,
    null,
    'signals.detachment',
    '',
    null
where to_regclass('signals.detachment') is not null
