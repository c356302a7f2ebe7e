SELECT model_id FROM model_training_runs WHERE training_key = %s AND status = 'completed';
