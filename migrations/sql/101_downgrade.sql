-- The facts of this revision are no longer what an earlier one makes: they are made anew.
delete from signals.fact_state;

alter table signals.cost_item drop column robust_verdict;

alter table signals.attention_fact drop column agent_id;

alter table signals.agent_cost
    drop column baseline_priced,
    drop column current_priced,
    drop column baseline_log_median,
    drop column baseline_log_mad,
    drop column baseline_log_mean_ad,
    drop column current_log_median,
    drop column baseline_total,
    drop column baseline_days,
    drop column baseline_last_at,
    drop column spike_run_ids,
    drop column spike_costs;

alter table signals.run_pattern
    drop column cycle_period,
    drop column cycle_repeats,
    drop column cycle_skills,
    drop column density,
    drop column outcome_stable,
    drop column after_error,
    drop column wasted_ms,
    drop column wasted_cost_usd,
    drop column share_of_run;

alter table signals.trace_fact
    drop column trace_steps,
    drop column span_steps,
    drop column later_ms,
    drop column later_cents,
    drop column later_after_error,
    drop column repeat_ms,
    drop column repeat_cents,
    drop column repeats_after_error,
    drop column retry_ms,
    drop column retry_cents,
    drop column outcome_low,
    drop column outcome_high,
    drop column cycle_period,
    drop column cycle_repeats,
    drop column cycle_skills;
