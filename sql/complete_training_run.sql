UPDATE model_training_runs
SET status = 'completed', finished_at = clock_timestamp(), model_id = %(model_id)s, error = NULL,
    trained_until = %(trained_until)s
WHERE run_id = %(run_id)s;
