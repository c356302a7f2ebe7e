-- Counts change only where values that they count were stored after them, with an ingest time from
-- before; what a verdict said by the earlier ones is in its own history.
INSERT INTO feature_drift AS old (
    strategy_id, feature_name, event_time, session, model_id, feature_version, day_counts,
    window_sessions, n_reference, n_current, missing_rate, psi, psi_no_drift_95
)
SELECT strategy_id, feature_name, event_time, session, model_id::uuid, feature_version,
       day_counts::bigint[], window_sessions, n_reference, n_current, missing_rate, psi,
       psi_no_drift_95
FROM staged_feature_drift
ORDER BY strategy_id, feature_name, event_time
ON CONFLICT (strategy_id, feature_name, event_time) DO UPDATE
SET session = excluded.session, model_id = excluded.model_id, feature_version = excluded.feature_version,
    day_counts = excluded.day_counts, window_sessions = excluded.window_sessions,
    n_reference = excluded.n_reference, n_current = excluded.n_current, missing_rate = excluded.missing_rate,
    psi = excluded.psi, psi_no_drift_95 = excluded.psi_no_drift_95,
    recorded_at = clock_timestamp()
WHERE (old.model_id, old.day_counts, old.window_sessions, old.n_reference, old.n_current)
      IS DISTINCT FROM (
          excluded.model_id, excluded.day_counts, excluded.window_sessions,
          excluded.n_reference, excluded.n_current
      )
   OR (old.psi IS NULL) <> (excluded.psi IS NULL)
   OR abs(old.psi - excluded.psi) > 1e-12;
