SELECT today.feature_name, today.psi, today.psi_no_drift_95, today.missing_rate,
       (SELECT before.psi
        FROM feature_drift AS before
        WHERE before.strategy_id = today.strategy_id
          AND before.feature_name = today.feature_name
          -- Against the profile of another model it would be no trend.
          AND before.model_id = today.model_id
          AND before.session < today.session
        ORDER BY before.session DESC
        OFFSET %(trend)s - 1 LIMIT 1) AS psi_before
FROM feature_drift AS today
WHERE today.strategy_id = %(strategy_id)s AND today.session = %(session)s AND today.psi IS NOT NULL
ORDER BY today.psi DESC, today.feature_name
LIMIT %(limit)s;
