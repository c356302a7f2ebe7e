SELECT trained_until
FROM model_training_runs
WHERE model_id = %s AND status = 'completed'
ORDER BY finished_at DESC
LIMIT 1;
