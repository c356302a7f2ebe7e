SELECT pg_advisory_lock(hashtext('model_training_runs'), hashtext(%s));
