INSERT INTO prediction_drift (
    strategy_id, event_time, session, model_id, day_counts, window_sessions, n_reference,
    n_current, psi, psi_no_drift_95
)
SELECT strategy_id, event_time, session, model_id::uuid, day_counts::bigint[], window_sessions,
       n_reference, n_current, psi, psi_no_drift_95
FROM staged_prediction_drift
ORDER BY strategy_id, event_time
ON CONFLICT DO NOTHING;
