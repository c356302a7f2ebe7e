SELECT run_id, params, dataset_start, dataset_end, started_at, finished_at, seed, code_version,
       code_dirty, library_versions
FROM model_training_runs
WHERE model_id = %s
ORDER BY started_at
LIMIT 1;
