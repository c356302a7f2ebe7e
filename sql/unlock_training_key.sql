SELECT pg_advisory_unlock(hashtext('model_training_runs'), hashtext(%s));
