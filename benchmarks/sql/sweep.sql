-- The specification's six heavy statements, per tenant; NOW() reads as the bind as_of.
SELECT
    t.run_id,
    'retry_loop' as pattern_type,
    COUNT(*) as retry_count,
    MAX(s.retry_count) as max_step_retries
FROM aos_traces t
JOIN aos_trace_steps s ON s.trace_id = t.trace_id
WHERE t.tenant_id = :tenant_id
  AND t.started_at >= cast(:as_of as timestamptz) - interval '24 hours'
  AND s.retry_count > 0
GROUP BY t.run_id
HAVING SUM(s.retry_count) >= 3
ORDER BY retry_count DESC
LIMIT 10;
WITH step_sequences AS (
    SELECT
        trace_id,
        skill_id,
        step_index,
        LAG(skill_id) OVER (PARTITION BY trace_id ORDER BY step_index) as prev_skill
    FROM aos_trace_steps
    WHERE trace_id IN (
        SELECT trace_id FROM aos_traces
        WHERE tenant_id = :tenant_id
          AND started_at >= cast(:as_of as timestamptz) - interval '24 hours'
    )
)
SELECT
    t.run_id,
    'step_oscillation' as pattern_type,
    ss.skill_id,
    COUNT(*) as oscillation_count
FROM step_sequences ss
JOIN aos_traces t ON t.trace_id = ss.trace_id
WHERE ss.skill_id = ss.prev_skill
GROUP BY t.run_id, ss.skill_id
HAVING COUNT(*) >= 3
ORDER BY oscillation_count DESC
LIMIT 10;
WITH windowed_skills AS (
    SELECT
        trace_id,
        skill_id,
        step_index,
        COUNT(*) OVER (
            PARTITION BY trace_id, skill_id
            ORDER BY step_index
            ROWS BETWEEN 4 PRECEDING AND CURRENT ROW
        ) as recent_calls
    FROM aos_trace_steps
    WHERE trace_id IN (
        SELECT trace_id FROM aos_traces
        WHERE tenant_id = :tenant_id
          AND started_at >= cast(:as_of as timestamptz) - interval '24 hours'
    )
)
SELECT
    t.run_id,
    'tool_call_loop' as pattern_type,
    ws.skill_id,
    MAX(ws.recent_calls) as loop_depth
FROM windowed_skills ws
JOIN aos_traces t ON t.trace_id = ws.trace_id
WHERE ws.recent_calls >= 3
GROUP BY t.run_id, ws.skill_id
ORDER BY loop_depth DESC
LIMIT 10;
SELECT
    t.run_id,
    'timeout_cascade' as pattern_type,
    COUNT(*) as slow_step_count,
    AVG(s.duration_ms) as avg_duration_ms
FROM aos_traces t
JOIN aos_trace_steps s ON s.trace_id = t.trace_id
WHERE t.tenant_id = :tenant_id
  AND t.started_at >= cast(:as_of as timestamptz) - interval '24 hours'
  AND s.duration_ms > 5000
GROUP BY t.run_id
HAVING COUNT(*) >= 2
ORDER BY slow_step_count DESC
LIMIT 10;
WITH baseline AS (
    SELECT
        COALESCE(agent_id, 'unknown') as agent_id,
        AVG(estimated_cost_usd) as avg_cost,
        STDDEV(estimated_cost_usd) as stddev_cost,
        PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY estimated_cost_usd) as p95_cost,
        COUNT(*) as run_count
    FROM runs
    WHERE tenant_id = :tenant_id
      AND completed_at >= cast(:as_of as timestamptz) - INTERVAL '7 days'
      AND completed_at < cast(:as_of as timestamptz) - INTERVAL '1 day'
      AND estimated_cost_usd IS NOT NULL
    GROUP BY agent_id
),
current_window AS (
    SELECT
        COALESCE(agent_id, 'unknown') as agent_id,
        AVG(estimated_cost_usd) as current_avg_cost,
        SUM(estimated_cost_usd) as total_cost,
        COUNT(*) as run_count
    FROM runs
    WHERE tenant_id = :tenant_id
      AND started_at >= cast(:as_of as timestamptz) - INTERVAL '1 day'
      AND estimated_cost_usd IS NOT NULL
    GROUP BY agent_id
)
SELECT
    c.agent_id,
    c.current_avg_cost,
    c.total_cost,
    c.run_count,
    b.avg_cost as baseline_avg,
    b.p95_cost as baseline_p95,
    CASE
        WHEN b.stddev_cost > 0 THEN
            (c.current_avg_cost - b.avg_cost) / b.stddev_cost
        ELSE 0
    END as z_score,
    CASE
        WHEN b.stddev_cost > 0 AND (c.current_avg_cost - b.avg_cost) / b.stddev_cost > 2 THEN true
        WHEN c.current_avg_cost > b.p95_cost THEN true
        ELSE false
    END as is_anomaly
FROM current_window c
LEFT JOIN baseline b ON b.agent_id = c.agent_id
ORDER BY z_score DESC;
WITH run_signals AS (
    SELECT
        run_id,
        tenant_id,
        CASE risk_level
            WHEN 'VIOLATED' THEN 1.0
            WHEN 'AT_RISK' THEN 0.8
            WHEN 'NEAR_THRESHOLD' THEN 0.5
            ELSE 0.0
        END as risk_score,
        CASE latency_bucket
            WHEN 'STALLED' THEN 1.0
            WHEN 'SLOW' THEN 0.5
            ELSE 0.0
        END as latency_score,
        CASE evidence_health
            WHEN 'MISSING' THEN 1.0
            WHEN 'DEGRADED' THEN 0.5
            ELSE 0.0
        END as evidence_score,
        CASE
            WHEN policy_violation THEN 0.8
            WHEN incident_count > 0 THEN 0.6
            ELSE 0.0
        END as impact_score,
        GREATEST(0, 1 - EXTRACT(EPOCH FROM (cast(:as_of as timestamptz) - started_at)) / 86400) as recency_score,
        state,
        status,
        started_at
    FROM v_runs_o2
    WHERE tenant_id = :tenant_id
      AND (state = 'LIVE' OR completed_at >= cast(:as_of as timestamptz) - INTERVAL '24 hours')
)
SELECT
    run_id,
    (
        risk_score * 0.35 +
        latency_score * 0.15 +
        evidence_score * 0.10 +
        impact_score * 0.25 +
        recency_score * 0.15
    ) as attention_score,
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
ORDER BY attention_score DESC
LIMIT 20;
