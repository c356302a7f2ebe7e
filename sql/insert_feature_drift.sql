INSERT INTO feature_drift (
    strategy_id, feature_name, event_time, session, model_id, feature_version, day_counts,
    window_sessions, n_reference, n_current, missing_rate, psi, psi_no_drift_95
)
VALUES (
    %(strategy_id)s, %(feature_name)s, %(event_time)s, %(session)s, %(model_id)s,
    %(feature_version)s, %(day_counts)s, %(window_sessions)s, %(n_reference)s, %(n_current)s,
    %(missing_rate)s, %(psi)s, %(psi_no_drift_95)s
)
ON CONFLICT DO NOTHING;
