-- The specification's attention query, as written except (headings of docs/specification-notes.md):
--   One instant per refresh: NOW() is the instant, and what starts after it is left out
--   Total order: LIMIT dropped, ties broken
--   Attention score: an infinite start is no more recent than none (subtracting it raises before PostgreSQL 17)
WITH run_signals AS (
    SELECT
        run_id,
        tenant_id,
        -- Risk score (0-1)
        CASE risk_level
            WHEN 'VIOLATED' THEN 1.0
            WHEN 'AT_RISK' THEN 0.8
            WHEN 'NEAR_THRESHOLD' THEN 0.5
            ELSE 0.0
        END as risk_score,
        -- Latency score (0-1)
        CASE latency_bucket
            WHEN 'STALLED' THEN 1.0
            WHEN 'SLOW' THEN 0.5
            ELSE 0.0
        END as latency_score,
        -- Evidence health score (0-1)
        CASE evidence_health
            WHEN 'MISSING' THEN 1.0
            WHEN 'DEGRADED' THEN 0.5
            ELSE 0.0
        END as evidence_score,
        -- Impact score (0-1)
        CASE
            WHEN policy_violation THEN 0.8
            WHEN incident_count > 0 THEN 0.6
            ELSE 0.0
        END as impact_score,
        -- Recency score (0-1, decays over 24h)
        CASE
            WHEN isfinite(started_at) THEN
                GREATEST(0, 1 - EXTRACT(EPOCH FROM (CAST(:as_of AS timestamptz) - started_at)) / 86400)
            ELSE 0
        END as recency_score,
        state,
        status,
        started_at
    FROM v_runs_o2
    WHERE tenant_id = :tenant_id
      AND (state = 'LIVE' OR completed_at >= CAST(:as_of AS timestamptz) - INTERVAL '24 hours')
      AND (started_at IS NULL OR started_at <= :as_of)
)

SELECT
    run_id,
    -- Composite score (weights are FROZEN)
    (
        risk_score * 0.35 +
        latency_score * 0.15 +
        evidence_score * 0.10 +
        impact_score * 0.25 +
        recency_score * 0.15
    ) as attention_score,
    -- Reason codes for transparency
    ARRAY_REMOVE(ARRAY[
        CASE WHEN risk_score > 0 THEN 'risk' END,
        CASE WHEN latency_score > 0 THEN 'latency' END,
        CASE WHEN evidence_score > 0 THEN 'evidence' END,
        CASE WHEN impact_score > 0 THEN 'impact' END
    ], NULL) as reasons,
    state,
    status,
    started_at
FROM run_signals
WHERE (
    risk_score > 0 OR
    latency_score > 0 OR
    evidence_score > 0 OR
    impact_score > 0
)
ORDER BY attention_score DESC, run_id COLLATE "C"
