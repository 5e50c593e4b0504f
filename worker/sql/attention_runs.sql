-- Finds every run that asks for attention, live or completed in the last day, with its composite score.
-- reads: signals.source_run
-- grain: one row per run that qualifies
-- params: as_of, completed_since, silent_since, risk_weight, impact_weight, latency_weight, recency_weight,
--     evidence_weight, exclude_synthetic, tenants
with recent_run as (
    select
        run.run_id,
        run.tenant_id,
        case run.risk_level
            when 'VIOLATED' then 1.0
            when 'AT_RISK' then 0.8
            when 'NEAR_THRESHOLD' then 0.5
            else 0.0
        end as risk_score,
        case run.latency_bucket
            when 'STALLED' then 1.0
            when 'SLOW' then 0.5
            else 0.0
        end as latency_score,
        case run.evidence_health
            when 'MISSING' then 1.0
            when 'DEGRADED' then 0.5
            else 0.0
        end as evidence_score,
        case
            when run.policy_violation then 0.8
            when run.incident_count > 0 then 0.6
            else 0.0
        end as impact_score,
        -- No start, or an infinite one, is not recent; subtracting an infinite one raises before PostgreSQL 17.
        greatest(0, 1 - case
            when isfinite(run.started_at)
                then extract(epoch from (cast(:as_of as timestamptz) - run.started_at)) / 86400
        end) as recency_score,
        run.state,
        run.status,
        run.started_at,
        coalesce(
            run.state = 'LIVE'
            and coalesce(run.last_seen_at, run.started_at) <= cast(:silent_since as timestamptz),
            false
        ) as is_abandoned
    from signals.source_run as run
    where
        run.tenant_id <> ''
        and (run.state = 'LIVE' or run.completed_at >= cast(:completed_since as timestamptz))
        and (run.started_at is null or run.started_at <= cast(:as_of as timestamptz))
        and (
            run.risk_level in ('VIOLATED', 'AT_RISK', 'NEAR_THRESHOLD')
            or run.latency_bucket in ('STALLED', 'SLOW')
            or run.evidence_health in ('MISSING', 'DEGRADED')
            or run.policy_violation
            or run.incident_count > 0
        )
        and (not cast(:exclude_synthetic as boolean) or run.is_synthetic is not true)
        and (cast(:tenants as text[]) is null or run.tenant_id = any(cast(:tenants as text[])))
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
    weighted_run.is_abandoned
from weighted_run
