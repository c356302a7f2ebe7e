-- One marks at a time, and whoever waited finds all of it marked.
SELECT pg_advisory_xact_lock(hashtext('abandoned_training_runs'), 0);
