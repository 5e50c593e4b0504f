create table signals.capture_doubt (
    signal text not null,
    capture text not null,
    unreported bigint not null,
    found_at timestamptz not null,
    last_found_at timestamptz not null,
    constraint pk_capture_doubt primary key (signal),
    constraint ck_capture_doubt_known_signal check (signal in ('patterns', 'cost', 'attention'))
);

comment on column signals.capture_doubt.capture is 'Fingerprint of the triggers that did not report a change';

comment on column signals.capture_doubt.unreported is 'Keys of the first sample whose facts differed without a mark';
