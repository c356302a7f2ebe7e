SELECT date, ic, ic_20d_mean, ic_20d_se, psi, prediction_psi, sharpe_5d, sharpe_20d, sharpe_60d, sharpe_60d_se
FROM drift_metrics
WHERE strategy_id = %(strategy_id)s
  AND date >= coalesce(%(first)s::date, '-infinity')
  AND date <= coalesce(%(last)s::date, 'infinity')
ORDER BY date
