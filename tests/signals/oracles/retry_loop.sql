-- The specification's retry_loop query, as written except (headings of docs/specification-notes.md):
--   One instant per refresh: later starts are left out. Archived rows and late steps: so are archived rows
--   Total order: LIMIT dropped, ties broken. Pattern entries: total_retries is added
SELECT
    t.run_id,
    'retry_loop' as pattern_type,
    COUNT(*) as retry_count,
    MAX(s.retry_count) as max_step_retries,
    SUM(s.retry_count) as total_retries
FROM aos_traces t
JOIN aos_trace_steps s ON s.trace_id = t.trace_id
WHERE t.tenant_id = :tenant_id
  AND t.started_at >= :window_start
  AND t.started_at <= :as_of
  AND t.archived_at IS NULL AND s.archived_at IS NULL
  AND s.retry_count > 0
GROUP BY t.run_id
HAVING SUM(s.retry_count) >= 3
ORDER BY retry_count DESC, t.run_id COLLATE "C"
