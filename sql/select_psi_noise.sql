SELECT session, avg(psi_no_drift_95), min(n_current)
FROM feature_drift
WHERE strategy_id = %s AND session BETWEEN %s AND %s AND psi IS NOT NULL
GROUP BY session;
