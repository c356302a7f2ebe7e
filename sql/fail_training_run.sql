UPDATE model_training_runs
SET status = 'failed', finished_at = clock_timestamp(), error = %s
WHERE run_id = %s AND status = 'running';
