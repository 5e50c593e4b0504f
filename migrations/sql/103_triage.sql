create table signals.triage_event (
    tenant_id text collate "C" not null,
    event_no bigint generated always as identity,
    signal text not null,
    fingerprint text collate "C" not null,
    key jsonb not null,
    action text not null,
    until timestamptz,
    reason text,
    comment text,
    actor text not null,
    at timestamptz not null default clock_timestamp(),
    request_key text,
    request_sha256 text,
    constraint pk_triage_event primary key (tenant_id, event_no),
    constraint ck_triage_event_known_signal check (signal in ('patterns', 'cost', 'attention')),
    constraint ck_triage_event_known_action check (action in ('acknowledge', 'snooze', 'expect', 'reopen')),
    constraint ck_triage_event_ends_when_it_must check ((action in ('snooze', 'expect')) = (until is not null)),
    constraint ck_triage_event_expected_for_a_reason check (action <> 'expect' or reason is not null),
    constraint ck_triage_event_words_bounded check (
        length(reason) <= 200 and length(comment) <= 2000 and length(actor) <= 300
    ),
    constraint uq_triage_event_request unique (tenant_id, request_key)
);

create index ix_triage_event_item on signals.triage_event (tenant_id, fingerprint, event_no);

create index ix_triage_event_at on signals.triage_event (at);

comment on column signals.triage_event.actor is 'The key or the subject of the token that asked, or system';

comment on column signals.triage_event.request_key is 'What the client named the request, so that it can repeat it';

create table signals.triage (
    tenant_id text collate "C" not null,
    signal text not null,
    fingerprint text collate "C" not null,
    state text not null,
    until timestamptz,
    reason text,
    comment text,
    actor text not null,
    at timestamptz not null,
    event_no bigint not null,
    constraint pk_triage primary key (tenant_id, signal, fingerprint),
    constraint ck_triage_known_state check (state in ('open', 'acknowledged', 'snoozed', 'expected'))
);

create index ix_triage_snoozed on signals.triage (signal, tenant_id) where state = 'snoozed';

comment on column signals.triage.event_no is 'The latest event of the item, which this is made of';

create function signals.apply_triage() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    -- The latest event decides, also when two that were written at once commit in the other order.
    insert into signals.triage as target (
        tenant_id, signal, fingerprint, state, until, reason, comment, actor, at, event_no
    )
    values (
        new.tenant_id,
        new.signal,
        new.fingerprint,
        case new.action
            when 'acknowledge' then 'acknowledged'
            when 'snooze' then 'snoozed'
            when 'expect' then 'expected'
            else 'open'
        end,
        new.until, new.reason, new.comment, new.actor, new.at, new.event_no
    )
    on conflict (tenant_id, signal, fingerprint) do update
        set
            state = excluded.state,
            until = excluded.until,
            reason = excluded.reason,
            comment = excluded.comment,
            actor = excluded.actor,
            at = excluded.at,
            event_no = excluded.event_no
        where target.event_no < excluded.event_no;
    return null;
end
$$;

revoke all on function signals.apply_triage() from public;

create trigger triage_event_applied after insert on signals.triage_event
for each row execute function signals.apply_triage();

alter table signals.attention_item drop constraint ck_attention_item_rank_in_top_hundred;

alter table signals.attention_item add constraint ck_attention_item_rank_positive check (rank > 0) not valid;

alter table signals.attention_item validate constraint ck_attention_item_rank_positive;
