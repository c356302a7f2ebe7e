SELECT date, model_id, no_data, missing, ic, psi, sharpe_5d,
       ic_names, ic_20d_mean, ic_20d_se, sharpe_60d, sharpe_60d_se
FROM drift_metrics
WHERE strategy_id = %s AND date <= %s
ORDER BY date;
