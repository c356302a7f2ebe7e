UPDATE model_training_runs
SET status = 'completed', finished_at = clock_timestamp(), model_id = %s
WHERE run_id = %s;
