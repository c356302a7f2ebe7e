SELECT session, avg(psi), max(psi), (array_agg(feature_name ORDER BY psi DESC, feature_name))[1]
FROM feature_drift
WHERE strategy_id = %s AND session BETWEEN %s AND %s AND psi IS NOT NULL
GROUP BY session;
