-- The specification's timeout_cascade query, as written except (headings of docs/specification-notes.md):
--   One instant per refresh: later starts are left out. Archived rows and late steps: so are archived rows
--   Total order: LIMIT dropped, ties broken. Non-finite values are no evidence: such durations are left out
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
