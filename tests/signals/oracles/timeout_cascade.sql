-- Spec section 4, pattern 4, as written but for
--   R2: what starts after the instant is left out; R18: so is what is archived
--   R3: LIMIT dropped, ties broken; R4a: a duration that is not finite is no evidence
SELECT
    t.run_id,
    'timeout_cascade' as pattern_type,
    COUNT(*) as slow_step_count,
    AVG(s.duration_ms) as avg_duration_ms
FROM aos_traces t
JOIN aos_trace_steps s ON s.trace_id = t.trace_id
WHERE t.tenant_id = :tenant_id
  AND t.started_at >= :window_start
  AND t.started_at <= :as_of
  AND t.archived_at IS NULL AND s.archived_at IS NULL
  AND s.duration_ms > :slow_threshold_ms  -- e.g., 5000ms
  AND s.duration_ms NOT IN ('NaN', 'Infinity')
GROUP BY t.run_id
HAVING COUNT(*) >= 2
ORDER BY slow_step_count DESC, t.run_id COLLATE "C"
