SELECT 1 FROM feature_drift WHERE strategy_id = %s AND session = %s LIMIT 1;
