SELECT ic_alert, psi_alert, sharpe_alert
FROM drift_metrics
WHERE strategy_id = %s AND date = %s;
