SELECT date, ic, ic_5d_avg, psi, psi_max, psi_max_feature, prediction_psi, sharpe_5d, sharpe_20d, no_data
FROM (
    SELECT * FROM drift_metrics WHERE strategy_id = %s ORDER BY date DESC LIMIT %s
) AS newest
ORDER BY date;
