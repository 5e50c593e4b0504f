-- Finds the runs of each tenant that need a person first, in the order of their scores.
-- For each that a tenant has snoozed there is one more, so that a page without those is filled from the next ones.
-- Source: docs/specification-notes.md#total-order.
-- Source: docs/specification-notes.md#attention-queue-length.
-- reads: pg_temp.stage_attention_run, signals.triage
-- grain: one row per tenant and rank
-- params: as_of, item_limit, hide_abandoned
with snoozed_total as (
    select
        triage.tenant_id,
        count(*) as snoozed_count
    from signals.triage
    where triage.signal = 'attention' and triage.state = 'snoozed' and triage.until > cast(:as_of as timestamptz)
    group by triage.tenant_id
),

ranked_run as (
    select
        run.*,
        row_number() over (
            partition by run.tenant_id
            order by run.attention_score desc, run.run_id collate "C" asc
        ) as rank
    from pg_temp.stage_attention_run as run
    where not (cast(:hide_abandoned as boolean) and run.is_abandoned)
)

select
    ranked_run.tenant_id,
    ranked_run.rank,
    ranked_run.run_id,
    ranked_run.attention_score,
    ranked_run.risk_contribution,
    ranked_run.impact_contribution,
    ranked_run.latency_contribution,
    ranked_run.recency_contribution,
    ranked_run.evidence_contribution,
    ranked_run.reasons,
    ranked_run.state,
    ranked_run.status,
    ranked_run.started_at,
    ranked_run.is_abandoned,
    ranked_run.agent_id
from ranked_run
left join snoozed_total on snoozed_total.tenant_id = ranked_run.tenant_id
where ranked_run.rank <= cast(:item_limit as integer) + coalesce(snoozed_total.snoozed_count, 0)
