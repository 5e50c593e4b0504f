-- A host whose names are its own, as bare as one may be: no default, no index but its keys, an enumeration, integers
-- where we read doubles.
create schema "Plat.form";
create type "Plat.form".phase as enum ('LIVE', 'COMPLETED');
create table "Plat.form"."agent ""Executions""" (
    "$$; drop table x; --" varchar primary key, "org:name" text, project_id text, "{{new_row.id}}" text,
    is_synthetic boolean, provider_type text, phase "Plat.form".phase, status text, "from" timestamp, last_seen_at timestamptz,
    "to" timestamp, took integer, risk_level text, latency_bucket text, evidence_health text, incident_count bigint,
    policy_violation boolean, input_tokens integer, output_tokens integer, "100%s cost" numeric
);
create index own on "Plat.form"."agent ""Executions""" ("from");
create table "Plat.form".spans ("select" text primary key, exec text, org text, at timestamptz);
create table "Plat.form"."steps;

" (
    span text references "Plat.form".spans, nr integer, tool text, skill_name text, status text,
    outcome_category text, cost_cents double precision, duration_ms double precision, retries integer,
    "timestamp" timestamptz, primary key (span, nr)
)
