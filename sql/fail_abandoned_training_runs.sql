-- Whoever runs this holds the key's lock, so no other process can still be training it.
UPDATE model_training_runs
SET status = 'failed', finished_at = clock_timestamp(), error = 'the process ended without a word'
WHERE training_key = %s AND status = 'running';
