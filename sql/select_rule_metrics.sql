SELECT date, model_id, no_data, ic, psi, sharpe_5d
FROM drift_metrics
WHERE strategy_id = %s AND date <= %s
ORDER BY date;
