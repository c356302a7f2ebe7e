-- What a model was trained on: its sessions, the last one whose close its fit knew, and when the
-- training set was known.
SELECT r.dataset_start, coalesce(r.trained_until, r.dataset_end), s.knowledge_time
FROM model_training_runs AS r
LEFT JOIN training_snapshots AS s USING (snapshot_id)
WHERE r.model_id = %s AND r.status = 'completed' AND r.dataset_start IS NOT NULL
ORDER BY r.finished_at DESC
LIMIT 1;
