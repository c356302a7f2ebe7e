-- Should a session have been measured at two instants, the later one counts.
SELECT DISTINCT ON (session, feature_name) session, feature_name, psi, psi_no_drift_95
FROM feature_drift
WHERE strategy_id = %(strategy_id)s
  AND session >= coalesce(%(first)s::date, '-infinity')
  AND session <= coalesce(%(last)s::date, 'infinity')
ORDER BY session, feature_name, event_time DESC
