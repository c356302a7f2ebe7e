-- A living process holds the lock of its run's key from before the run is entered until after it
-- has ended, so that a lock which is free, or ours, belongs to a process that is gone. What is
-- materialised first keeps the server from trying the locks of runs that have ended; a run that
-- ended while its lock was tried is left alone by the last condition.
WITH running AS MATERIALIZED (
    SELECT run_id, training_key FROM model_training_runs WHERE status = 'running'
),
abandoned AS MATERIALIZED (
    SELECT run_id FROM running
    WHERE pg_try_advisory_xact_lock(hashtext('model_training_runs'), hashtext(training_key))
)
UPDATE model_training_runs AS run
SET status = 'failed', finished_at = clock_timestamp(), error = 'the process ended without a word'
FROM abandoned
WHERE run.run_id = abandoned.run_id AND run.status = 'running';
