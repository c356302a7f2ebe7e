SELECT session, psi
FROM prediction_drift
WHERE strategy_id = %s AND session BETWEEN %s AND %s AND psi IS NOT NULL;
