-- Nothing is entered for a key that another process completed while this one waited for it.
INSERT INTO model_training_runs (
    run_id, training_key, params, snapshot_id, dataset_start, dataset_end, status, seed,
    code_version, code_dirty, library_versions
)
SELECT %(run_id)s, %(training_key)s, %(params)s::jsonb, %(snapshot_id)s::uuid,
       %(dataset_start)s::date, %(dataset_end)s::date, 'running', %(seed)s::integer,
       %(code_version)s, %(code_dirty)s::boolean, %(library_versions)s::jsonb
WHERE NOT EXISTS (
    SELECT FROM model_training_runs
    WHERE training_key = %(training_key)s AND status = 'completed'
);
