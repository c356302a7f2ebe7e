SELECT r.run_id, r.status, r.started_at, r.finished_at, r.error, r.model_id, m.name, m.version,
       s.strategy_id, r.snapshot_id, r.dataset_start, r.dataset_end, r.training_key, r.params,
       r.seed, r.code_version, r.code_dirty, r.library_versions
FROM model_training_runs AS r
LEFT JOIN models AS m USING (model_id)
LEFT JOIN training_snapshots AS s ON s.snapshot_id = r.snapshot_id
WHERE (%(strategy_id)s::text IS NULL OR s.strategy_id = %(strategy_id)s)
  AND (%(name)s::text IS NULL OR m.name = %(name)s)
  AND (%(model_id)s::uuid IS NULL OR r.model_id = %(model_id)s)
  AND (%(status)s::text IS NULL OR r.status = %(status)s)
ORDER BY r.started_at DESC, r.run_id
LIMIT %(limit)s;
