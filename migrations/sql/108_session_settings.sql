-- A partition's bounds are printed into a statement and read back from it.
alter function signals.ensure_history_partition(date) set timezone = 'UTC';

alter function signals.ensure_history_partition(date) set datestyle = 'ISO, MDY';

alter function signals.drop_history_before(date) set timezone = 'UTC';

alter function signals.drop_history_before(date) set datestyle = 'ISO, MDY';

-- Instants of decisions are printed in UTC, whatever the session's zone.
create or replace function signals.present_snapshot(
    asked_tenant text, asked_signal text, shown integer, asked_at timestamptz, day_ago timestamptz
) returns table (
    refreshes bigint,
    items text[],
    marks text[],
    entered bigint[],
    lengths integer[],
    departed text,
    since_24h json,
    left_24h text,
    triage json,
    slot_as_of timestamptz,
    slot_verified_at timestamptz,
    slot_period_s integer,
    slot_window_json text,
    slot_empty_content text,
    slot_rule_version text,
    version bigint,
    content text,
    window_json text,
    as_of timestamptz,
    computed_at timestamptz,
    rule_version text,
    failing_since timestamptz,
    confirmed_as_of timestamptz,
    confirmed_window_json text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    with item as (
        select
            item_state.fingerprint,
            item_state.key,
            item_state.severity,
            item_state.left_at,
            first_change.kind,
            first_change.previous_severity
        from signals.item_state
        -- It says what the item was a day ago; what was first seen later was not there, and need not be looked up.
        left join lateral (
            select signal_change.kind, signal_change.previous_severity
            from signals.signal_change
            where
                signal_change.tenant_id = item_state.tenant_id
                and signal_change.signal = item_state.signal
                and signal_change.fingerprint = item_state.fingerprint
                and signal_change.at > day_ago
                and item_state.first_seen_at <= day_ago
            order by signal_change.at, signal_change.change_no
            limit 1
        ) as first_change on true
        where
            item_state.tenant_id = asked_tenant
            and item_state.signal = asked_signal
            and item_state.changed_at > day_ago
    ),

    departed_item as (
        select item.fingerprint, item.key
        from item
        where item.left_at > day_ago and item.kind <> 'entered'
        order by item.left_at desc, item.fingerprint
        limit 100
    )

    select
        freshness.refreshes,
        snapshot.items[1:shown],
        movement.marks[1:shown],
        movement.entered[1:shown],
        movement.lengths,
        movement.departed,
        (
            select
                json_object_agg(
                    item.fingerprint,
                    case
                        when item.kind is null or item.kind = 'entered' then 'entered'
                        when item.severity > item.previous_severity then 'rose'
                        when item.severity < item.previous_severity then 'fell'
                        else 'same'
                    end
                )
            from item
            where item.left_at is null
        ),
        (
            select
                coalesce(
                    jsonb_agg(
                        jsonb_build_object('fingerprint', departed_item.fingerprint, 'key', departed_item.key)
                    )::text,
                    '[]'
                )
            from departed_item
        ),
        (
            select
                json_object_agg(
                    triage.fingerprint,
                    json_build_array(
                        triage.state,
                        json_build_object(
                            'state', triage.state,
                            'until', to_char(triage.until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                            'reason', triage.reason,
                            'comment', triage.comment,
                            'actor', triage.actor,
                            'at', to_char(triage.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                        )::text
                    )
                )
            from signals.triage
            where
                triage.tenant_id = asked_tenant
                and triage.signal = asked_signal
                and triage.state <> 'open'
                and (triage.until is null or triage.until > asked_at)
        ),
        freshness.as_of,
        freshness.verified_at,
        freshness.period_s,
        freshness.window_json,
        freshness.empty_content,
        freshness.rule_version,
        snapshot.version,
        snapshot.content,
        snapshot.window_json,
        snapshot.as_of,
        snapshot.computed_at,
        snapshot.rule_version,
        quarantine.first_failed_at,
        quarantine.as_of,
        quarantine.window_json
    from signals.freshness
    left join signals.snapshot on snapshot.signal = freshness.signal and snapshot.tenant_id = asked_tenant
    left join signals.movement
        on
            movement.tenant_id = snapshot.tenant_id
            and movement.signal = snapshot.signal
            and movement.version = snapshot.version
    left join signals.quarantine on quarantine.signal = freshness.signal and quarantine.tenant_id = asked_tenant
    where freshness.signal = asked_signal and freshness.slot = signals.slot_of(asked_tenant);
end
$$;

-- What was printed in another zone is printed anew: every tenant is read again, and published once more.
delete from signals.fact_state;

update signals.snapshot set basis = ''
