-- Compares the items just published with those known before, and records what moved: states, changes, marks to serve.
-- reads: pg_temp.stage_published, pg_temp.stage_identity, pg_temp.stage_content, signals.item_state, signals.movement,
--     signals.freshness, signals.triage
-- grain: one row, how many changes were recorded
-- params: signal, as_of, step, worse_by, actor
with published as (
    select
        stage_published.tenant_id,
        stage_published.version,
        coalesce(freshness.refreshes, 0) + 1 as refresh_no
    from pg_temp.stage_published
    left join signals.freshness
        on freshness.signal = cast(:signal as text) and freshness.slot = signals.slot_of(stage_published.tenant_id)
),

previous_place as (
    select
        movement.tenant_id,
        substr(place.mark, 16, 32) as fingerprint,
        place.rank
    from signals.movement
    cross join unnest(movement.marks) with ordinality as place (mark, rank)
    where
        movement.signal = cast(:signal as text)
        and movement.tenant_id = any(array(select published.tenant_id from published))
),

compared_item as (
    select
        item.*,
        known.severity as known_severity,
        known.value as known_value,
        known.mark as known_mark,
        known.traits as known_traits,
        known.entered_refresh,
        coalesce(known.first_seen_at, cast(:as_of as timestamptz)) as first_seen_at,
        case
            when known.fingerprint is null or known.left_at is not null then 'entered'
            when
                not item.traits <@ known.traits
                or item.severity > known.mark + abs(known.mark) * cast(:worse_by as numeric)
                then 'worsened'
            when item.severity > known.severity + abs(known.severity) * cast(:step as numeric) then 'rose'
            when
                item.severity < known.severity - abs(known.severity) * cast(:step as numeric)
                or not known.traits <@ item.traits
                then 'fell'
        end as kind
    from pg_temp.stage_identity as item
    left join signals.item_state as known
        on
            known.tenant_id = item.tenant_id
            and known.signal = cast(:signal as text)
            and known.fingerprint = item.fingerprint
),

event as (
    select
        compared_item.tenant_id,
        compared_item.kind,
        compared_item.fingerprint,
        compared_item.key,
        compared_item.position as rank,
        compared_item.value,
        compared_item.severity,
        case when compared_item.kind <> 'entered' then compared_item.known_value end as previous_value,
        case when compared_item.kind <> 'entered' then compared_item.known_severity end as previous_severity,
        case
            when compared_item.kind in ('entered', 'worsened') then compared_item.severity
            else least(compared_item.known_mark, compared_item.severity)
        end as mark,
        compared_item.traits,
        compared_item.first_seen_at,
        case
            when compared_item.kind = 'entered' then published.refresh_no
            else compared_item.entered_refresh
        end as entered_refresh
    from compared_item
    inner join published on published.tenant_id = compared_item.tenant_id
    where compared_item.kind is not null
    union all
    select
        known.tenant_id,
        'left',
        known.fingerprint,
        known.key,
        null,
        known.value,
        known.severity,
        known.value as previous_value,
        known.severity as previous_severity,
        known.mark,
        known.traits,
        known.first_seen_at,
        known.entered_refresh
    from signals.item_state as known
    where
        known.signal = cast(:signal as text)
        and known.left_at is null
        and known.tenant_id = any(array(select published.tenant_id from published))
        and not exists (
            select from pg_temp.stage_identity as item
            where item.tenant_id = known.tenant_id and item.fingerprint = known.fingerprint
        )
),

-- The row stays locked until this transaction ends: a later number never becomes visible before an earlier one. In one
-- order for all, since two refreshes that count for the same tenants would otherwise wait for each other.
counted as (
    insert into signals.change_counter as counter (tenant_id, last_no)
    select
        event.tenant_id,
        count(*)
    from event
    group by event.tenant_id
    order by event.tenant_id
    on conflict (tenant_id) do update set last_no = counter.last_no + excluded.last_no
    returning counter.tenant_id, counter.last_no
),

numbered as (
    select
        event.*,
        row_number() over (
            partition by event.tenant_id order by event.rank asc nulls last, event.fingerprint asc
        ) - count(*) over (partition by event.tenant_id) as place
    from event
),

recorded as (
    insert into signals.signal_change (
        tenant_id, change_no, signal, fingerprint, key, kind, rank, previous_rank, value, previous_value, severity,
        previous_severity, at, version
    )
    select
        numbered.tenant_id,
        counted.last_no + numbered.place,
        cast(:signal as text),
        numbered.fingerprint,
        numbered.key,
        numbered.kind,
        numbered.rank,
        previous_place.rank as previous_rank,
        case when numbered.kind <> 'left' then numbered.value end,
        numbered.previous_value,
        case when numbered.kind <> 'left' then numbered.severity end,
        numbered.previous_severity,
        cast(:as_of as timestamptz),
        published.version
    from numbered
    inner join counted on counted.tenant_id = numbered.tenant_id
    inner join published on published.tenant_id = numbered.tenant_id
    left join previous_place
        on previous_place.tenant_id = numbered.tenant_id and previous_place.fingerprint = numbered.fingerprint
    returning tenant_id
),

kept as (
    insert into signals.item_state as target (
        tenant_id, signal, fingerprint, key, value, severity, mark, traits, first_seen_at, entered_refresh, changed_at,
        left_at
    )
    select
        event.tenant_id,
        cast(:signal as text),
        event.fingerprint,
        event.key,
        event.value,
        event.severity,
        event.mark,
        event.traits,
        event.first_seen_at,
        event.entered_refresh,
        cast(:as_of as timestamptz),
        case when event.kind = 'left' then cast(:as_of as timestamptz) end
    from event
    on conflict (tenant_id, signal, fingerprint) do update
        set
            value = excluded.value,
            severity = excluded.severity,
            mark = excluded.mark,
            traits = excluded.traits,
            first_seen_at = excluded.first_seen_at,
            entered_refresh = excluded.entered_refresh,
            changed_at = excluded.changed_at,
            left_at = excluded.left_at
),

marked_list as (
    select
        compared_item.tenant_id,
        array_agg(
            '"fingerprint":"' || compared_item.fingerprint
            || '","movement":{"first_seen_at":"'
            || to_char(compared_item.first_seen_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            || '","since_previous":"'
            || case compared_item.kind when 'worsened' then 'rose' else coalesce(compared_item.kind, 'same') end || '"'
            order by compared_item.position
        ) as marks,
        array_agg(
            case
                when compared_item.kind = 'entered' then published.refresh_no
                else compared_item.entered_refresh
            end order by compared_item.position
        ) as entered
    from compared_item
    inner join published on published.tenant_id = compared_item.tenant_id
    where compared_item.position is not null
    group by compared_item.tenant_id
),

departed_list as (
    select
        tenant_id,
        json_agg(json_build_object('fingerprint', fingerprint, 'key', key) order by fingerprint) as departed
    from event
    where kind = 'left'
    group by tenant_id
),

served as (
    insert into signals.movement as target (tenant_id, signal, version, marks, entered, lengths, departed)
    select
        published.tenant_id,
        cast(:signal as text),
        published.version,
        coalesce(marked_list.marks, cast(array[] as text[])),
        coalesce(marked_list.entered, cast(array[] as bigint[])),
        coalesce(stage_content.lengths, cast(array[] as integer[])),
        coalesce(cast(departed_list.departed as text), '[]')
    from published
    left join marked_list on marked_list.tenant_id = published.tenant_id
    left join departed_list on departed_list.tenant_id = published.tenant_id
    left join pg_temp.stage_content on stage_content.tenant_id = published.tenant_id
    on conflict (tenant_id, signal) do update
        set
            version = excluded.version,
            marks = excluded.marks,
            entered = excluded.entered,
            lengths = excluded.lengths,
            departed = excluded.departed
),

-- What has become worse is open again, and so is what was acknowledged and comes back.
reopened as (
    insert into signals.triage_event (tenant_id, signal, fingerprint, key, action, reason, actor)
    select
        event.tenant_id,
        cast(:signal as text),
        event.fingerprint,
        event.key,
        'reopen',
        event.kind,
        cast(:actor as text)
    from event
    inner join signals.triage
        on
            triage.tenant_id = event.tenant_id
            and triage.signal = cast(:signal as text)
            and triage.fingerprint = event.fingerprint
    where
        (
            event.kind = 'worsened'
            and triage.state <> 'open'
            and coalesce(triage.until > cast(:as_of as timestamptz), true)
        )
        or (event.kind = 'entered' and triage.state = 'acknowledged')
)

select count(*) as changes from recorded
