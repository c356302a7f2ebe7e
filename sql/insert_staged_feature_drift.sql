INSERT INTO feature_drift (
    strategy_id, feature_name, event_time, session, model_id, feature_version, day_counts,
    window_sessions, n_reference, n_current, missing_rate, psi, psi_no_drift_95
)
SELECT strategy_id, feature_name, event_time, session, model_id::uuid, feature_version,
       day_counts::bigint[], window_sessions, n_reference, n_current, missing_rate, psi,
       psi_no_drift_95
FROM staged_feature_drift
ORDER BY strategy_id, feature_name, event_time
ON CONFLICT DO NOTHING;
