alter table signals.trace_fact
    add column trace_steps bigint,
    add column span_steps bigint,
    add column later_ms numeric,
    add column later_cents numeric,
    add column later_after_error bigint,
    add column repeat_ms numeric,
    add column repeat_cents numeric,
    add column repeats_after_error bigint,
    add column retry_ms numeric,
    add column retry_cents numeric,
    add column outcome_low text collate "C",
    add column outcome_high text collate "C",
    add column cycle_period integer,
    add column cycle_repeats bigint,
    add column cycle_skills text[] collate "C";

comment on column signals.trace_fact.trace_steps is 'Steps of the trace, of every skill; NULL without extras, as what follows';

comment on column signals.trace_fact.span_steps is 'From the first use to the last, both included, by step_index';

comment on column signals.trace_fact.later_ms is 'Of the uses after the first';

comment on column signals.trace_fact.later_after_error is 'Of them, those that follow a step that failed';

comment on column signals.trace_fact.repeat_ms is 'Of the uses that follow one of the same skill';

comment on column signals.trace_fact.retry_ms is 'The share of the retries in the steps that were retried';

comment on column signals.trace_fact.outcome_low is 'The first and the last of the outcomes, status/code, bytewise';

alter table signals.run_pattern
    add column cycle_period integer,
    add column cycle_repeats bigint,
    add column cycle_skills text[] collate "C",
    add column density numeric,
    add column outcome_stable boolean,
    add column after_error boolean,
    add column wasted_ms numeric,
    add column wasted_cost_usd numeric,
    add column share_of_run numeric;

comment on column signals.run_pattern.density is 'Uses over the steps from the first to the last';

alter table signals.agent_cost
    add column baseline_priced bigint,
    add column current_priced bigint,
    add column baseline_log_median double precision,
    add column baseline_log_mad double precision,
    add column baseline_log_mean_ad numeric,
    add column current_log_median double precision,
    add column baseline_total numeric,
    add column baseline_days bigint,
    add column baseline_last_at timestamptz,
    add column spike_run_ids text[] collate "C",
    add column spike_costs numeric[];

comment on column signals.agent_cost.baseline_priced is 'Runs with a cost above 0; NULL without extras, as what follows';

comment on column signals.agent_cost.baseline_log_mad is 'Median absolute deviation of the logs';

comment on column signals.agent_cost.baseline_log_mean_ad is 'Mean absolute deviation, where the median one is 0';

comment on column signals.agent_cost.baseline_days is 'Dates, in UTC, on which runs were completed';

alter table signals.attention_fact add column agent_id text collate "C";

alter table signals.cost_item add column robust_verdict text;

comment on column signals.cost_item.robust_verdict is 'NULL without extras';
