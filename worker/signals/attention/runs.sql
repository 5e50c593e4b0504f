-- Scores every run that asks for attention at this instant, component by component.
-- reads: pg_temp.stage_attention_fact
-- grain: one row per run that qualifies
-- params: as_of, completed_since, silent_since, risk_weight, impact_weight, latency_weight, recency_weight,
--     evidence_weight
with recent_run as (
    select
        fact.*,
        -- No start, or an infinite one, is not recent; subtracting an infinite one raises before PostgreSQL 17.
        greatest(0, 1 - case
            when isfinite(fact.started_at)
                then extract(epoch from (cast(:as_of as timestamptz) - fact.started_at)) / 86400
        end) as recency_score,
        coalesce(fact.state = 'LIVE' and fact.heartbeat_at <= cast(:silent_since as timestamptz), false) as is_abandoned
    from pg_temp.stage_attention_fact as fact
    where
        (fact.state = 'LIVE' or fact.completed_at >= cast(:completed_since as timestamptz))
        and (fact.started_at is null or fact.started_at <= cast(:as_of as timestamptz))
),

weighted_run as (
    select
        recent_run.*,
        recent_run.risk_score * cast(:risk_weight as numeric) as risk_contribution,
        recent_run.impact_score * cast(:impact_weight as numeric) as impact_contribution,
        recent_run.latency_score * cast(:latency_weight as numeric) as latency_contribution,
        recent_run.recency_score * cast(:recency_weight as numeric) as recency_contribution,
        recent_run.evidence_score * cast(:evidence_weight as numeric) as evidence_contribution
    from recent_run
)

select
    weighted_run.tenant_id,
    weighted_run.run_id,
    weighted_run.risk_contribution + weighted_run.impact_contribution + weighted_run.latency_contribution
    + weighted_run.recency_contribution + weighted_run.evidence_contribution as attention_score,
    weighted_run.risk_contribution,
    weighted_run.impact_contribution,
    weighted_run.latency_contribution,
    weighted_run.recency_contribution,
    weighted_run.evidence_contribution,
    array_remove(array[
        case when weighted_run.risk_score > 0 then 'risk' end,
        case when weighted_run.latency_score > 0 then 'latency' end,
        case when weighted_run.evidence_score > 0 then 'evidence' end,
        case when weighted_run.impact_score > 0 then 'impact' end
    ], null) as reasons,
    weighted_run.state,
    weighted_run.status,
    weighted_run.started_at,
    weighted_run.is_abandoned,
    weighted_run.agent_id
from weighted_run
