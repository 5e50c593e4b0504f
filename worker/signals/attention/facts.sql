-- What each run that asks for attention is scored by, live or completed in the last day; nothing here moves with time.
-- Runs that start later than now are among them: they count once their time has come.
-- Source: docs/specification-notes.md#one-instant-per-refresh.
-- reads: signals.source_run, pg_temp.stage_dirty_run
-- grain: one row per run that qualifies
-- params: completed_since, exclude_synthetic, tenants, excluded, shards, shard, only_changed
select
    run.tenant_id,
    run.run_id,
    case run.risk_level
        when 'VIOLATED' then 1.0
        when 'AT_RISK' then 0.8
        when 'NEAR_THRESHOLD' then 0.5
        else 0.0
    end as risk_score,
    case
        when run.policy_violation then 0.8
        when run.incident_count > 0 then 0.6
        else 0.0
    end as impact_score,
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
    run.state,
    run.status,
    run.started_at,
    run.completed_at,
    coalesce(run.last_seen_at, run.started_at) as heartbeat_at,
    coalesce(run.agent_id, 'unknown') as agent_id
from signals.source_run as run
where
    run.tenant_id <> ''
    and (run.state = 'LIVE' or run.completed_at >= cast(:completed_since as timestamptz))
    and (
        run.risk_level in ('VIOLATED', 'AT_RISK', 'NEAR_THRESHOLD')
        or run.latency_bucket in ('STALLED', 'SLOW')
        or run.evidence_health in ('MISSING', 'DEGRADED')
        or run.policy_violation
        or run.incident_count > 0
    )
    and (not cast(:exclude_synthetic as boolean) or run.is_synthetic is not true)
    and (cast(:tenants as text[]) is null or run.tenant_id = any(cast(:tenants as text[])))
    and run.tenant_id <> all(cast(:excluded as text[]))
    and (
        cast(:shards as integer) = 1
        or signals.slot_of(run.tenant_id) % cast(:shards as integer) = cast(:shard as integer)
    )
    and (
        not cast(:only_changed as boolean)
        or run.run_id = any(array(select dirty.run_id from pg_temp.stage_dirty_run as dirty))
    )
