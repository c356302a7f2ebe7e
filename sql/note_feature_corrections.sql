INSERT INTO feature_corrections (strategy_id, applied_until)
VALUES (%s, %s)
ON CONFLICT (strategy_id) DO UPDATE
SET applied_until = greatest(feature_corrections.applied_until, excluded.applied_until),
    recorded_at = clock_timestamp();
