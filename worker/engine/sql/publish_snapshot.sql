-- Replaces the snapshots whose staged answer differs, keeps what they replace, and retracts findings that are gone.
-- Notes the tenants whose they are in pg_temp.stage_published.
-- reads: pg_temp.stage_content, pg_temp.stage_tenant, signals.snapshot, signals.snapshot_history
-- grain: one row, how many snapshots changed and how many were kept as history
-- params: signal, every_tenant, excluded, shard, shards, as_of, rescore_before, rule_version, window_json, fence,
--     refresh_id, keep_every_version, keep_after
with current_snapshot as (
    select snapshot.*
    from signals.snapshot
    where
        snapshot.signal = cast(:signal as text)
        -- What is set aside keeps the last answer that it had.
        and snapshot.tenant_id <> all(cast(:excluded as text[]))
        and (
            cast(:every_tenant as boolean)
            or snapshot.tenant_id = any(array(select asked.tenant_id from pg_temp.stage_tenant as asked))
        )
        and (
            not cast(:every_tenant as boolean)
            or cast(:shards as integer) = 1
            or signals.slot_of(snapshot.tenant_id) % cast(:shards as integer) = cast(:shard as integer)
        )
),

answer as (
    select
        stage_content.tenant_id,
        stage_content.content,
        stage_content.items,
        stage_content.basis,
        stage_content.shape
    from pg_temp.stage_content
    where stage_content.tenant_id <> ''
    union all
    -- A tenant whose findings are gone is answered with the empty content.
    select
        current_snapshot.tenant_id,
        empty_content.content,
        empty_content.items,
        empty_content.basis,
        empty_content.shape
    from current_snapshot
    cross join pg_temp.stage_content as empty_content
    where
        empty_content.tenant_id = ''
        and not exists (
            select from pg_temp.stage_content as found
            where found.tenant_id = current_snapshot.tenant_id
        )
),

changed_answer as (
    select
        answer.*,
        current_snapshot.shape as replaced_shape
    from answer
    left join current_snapshot on current_snapshot.tenant_id = answer.tenant_id
    where
        current_snapshot.tenant_id is null
        or (
            current_snapshot.fence < cast(:fence as bigint)
            and (
                current_snapshot.basis <> answer.basis
                or current_snapshot.rule_version <> cast(:rule_version as text)
                -- The database's clock was set back: scores of an instant that has not come yet.
                or (
                    current_snapshot.as_of > cast(:as_of as timestamptz)
                    and not cast(:keep_every_version as boolean)
                )
                or (
                    current_snapshot.as_of <= cast(:rescore_before as timestamptz)
                    and current_snapshot.as_of < cast(:as_of as timestamptz)
                )
            )
        )
),

kept_version as (
    insert into signals.snapshot_history (
        tenant_id, signal, version, content, items, window_json, as_of, computed_at, rule_version, replaced_at
    )
    select
        current_snapshot.tenant_id,
        current_snapshot.signal,
        current_snapshot.version,
        current_snapshot.content,
        current_snapshot.items,
        current_snapshot.window_json,
        current_snapshot.as_of,
        current_snapshot.computed_at,
        current_snapshot.rule_version,
        cast(:as_of as timestamptz)
    from current_snapshot
    inner join changed_answer on changed_answer.tenant_id = current_snapshot.tenant_id
    where
        cast(:keep_every_version as boolean)
        or (
            changed_answer.shape <> current_snapshot.shape
            and not exists (
                select from signals.snapshot_history as kept
                where
                    kept.tenant_id = current_snapshot.tenant_id
                    and kept.signal = current_snapshot.signal
                    and kept.replaced_at > cast(:keep_after as timestamptz)
                    and kept.replaced_at <= cast(:as_of as timestamptz)
            )
        )
    returning tenant_id
),

published as (
    insert into signals.snapshot as target (
        tenant_id, signal, version, content, items, basis, shape, window_json, as_of, computed_at, rule_version, fence,
        refresh_id
    )
    select
        changed_answer.tenant_id,
        cast(:signal as text),
        1,
        changed_answer.content,
        changed_answer.items,
        changed_answer.basis,
        changed_answer.shape,
        cast(:window_json as text),
        cast(:as_of as timestamptz),
        clock_timestamp(),
        cast(:rule_version as text),
        cast(:fence as bigint),
        cast(:refresh_id as bigint)
    from changed_answer
    on conflict (tenant_id, signal) do update
        set
            version = target.version + 1,
            content = excluded.content,
            items = excluded.items,
            basis = excluded.basis,
            shape = excluded.shape,
            window_json = excluded.window_json,
            as_of = excluded.as_of,
            computed_at = excluded.computed_at,
            rule_version = excluded.rule_version,
            fence = excluded.fence,
            refresh_id = excluded.refresh_id
        where target.fence < excluded.fence
    returning target.tenant_id, target.version
),

noted as (
    insert into pg_temp.stage_published (tenant_id, version)
    select
        published.tenant_id,
        published.version
    from published
)

select
    (select count(*) from answer) as tenants_seen,
    (select count(*) from published) as tenants_changed,
    (select count(*) from kept_version) as history_rows
