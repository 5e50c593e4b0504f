create table signals.ingested_trace (
    trace_id text collate "C" not null,
    tenant_id text collate "C" not null,
    spans integer not null default 0,
    pending integer not null default 0,
    refused integer not null default 0,
    steps integer not null default 0,
    late integer not null default 0,
    has_root boolean not null default false,
    first_arrived_at timestamptz not null,
    last_arrived_at timestamptz not null,
    pending_since timestamptz,
    shown_at timestamptz,
    written_at timestamptz,
    is_underived boolean not null default false,
    problem text,
    constraint pk_ingested_trace primary key (trace_id),
    constraint ck_ingested_trace_tenant_named check (tenant_id <> ''),
    constraint ck_ingested_trace_pending_of_spans check (pending between 0 and spans),
    constraint ck_ingested_trace_pending_since_an_instant check ((pending > 0) = (pending_since is not null))
) with (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 80);

comment on column signals.ingested_trace.spans is 'Spans that were accepted';

comment on column signals.ingested_trace.pending is 'Those of them that are not written yet';

comment on column signals.ingested_trace.refused is 'Spans that found no room';

comment on column signals.ingested_trace.steps is 'Steps that were written';

comment on column signals.ingested_trace.late is 'Spans written after the trace first was';

comment on column signals.ingested_trace.has_root is 'Its outermost span has ended';

comment on column signals.ingested_trace.pending_since is
    'When the first of the spans arrived that are not written yet';

comment on column signals.ingested_trace.shown_at is
    'When the run was last brought up to date while spans were still to come';

comment on column signals.ingested_trace.written_at is 'When the trace was first written';

comment on column signals.ingested_trace.is_underived is 'Its run is to be judged';

comment on column signals.ingested_trace.problem is 'Why the trace is not written';

create index ix_ingested_trace_pending_since on signals.ingested_trace (pending_since) where pending > 0;

create index ix_ingested_trace_underived on signals.ingested_trace (trace_id) where is_underived;

create index ix_ingested_trace_last_arrived_at on signals.ingested_trace (last_arrived_at);

create table signals.ingested_span (
    trace_id text collate "C" not null,
    span_id text collate "C" not null,
    tenant_id text collate "C" not null,
    payload jsonb not null,
    arrived_at timestamptz not null,
    written_at timestamptz,
    step_index integer,
    is_late boolean not null default false,
    constraint pk_ingested_span primary key (trace_id, span_id),
    constraint ck_ingested_span_tenant_named check (tenant_id <> '')
) with (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 80);

comment on column signals.ingested_span.payload is 'What the signals need of it; no prompt and no answer';

comment on column signals.ingested_span.written_at is 'When it became part of the run; NULL while it waits';

comment on column signals.ingested_span.step_index is 'The step that it became, where it is one';

comment on column signals.ingested_span.is_late is 'It came after the trace';
