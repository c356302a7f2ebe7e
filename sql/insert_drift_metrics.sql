INSERT INTO drift_metrics (
    date, strategy_id, evaluation_time, model_id, ic_session, ic_names, ic, ic_5d_avg, ic_20d_mean,
    ic_20d_se, ic_by_horizon, psi, psi_max, psi_max_feature, prediction_psi, sharpe_5d,
    sharpe_5d_se, sharpe_20d, sharpe_20d_se, sharpe_60d, sharpe_60d_se, probabilistic_sharpe_60d,
    ic_alert, psi_alert, sharpe_alert, no_data, missing
)
VALUES (
    %(date)s, %(strategy_id)s, %(evaluation_time)s, %(model_id)s, %(ic_session)s, %(ic_names)s,
    %(ic)s, %(ic_5d_avg)s, %(ic_20d_mean)s, %(ic_20d_se)s, %(ic_by_horizon)s, %(psi)s,
    %(psi_max)s, %(psi_max_feature)s, %(prediction_psi)s, %(sharpe_5d)s, %(sharpe_5d_se)s,
    %(sharpe_20d)s, %(sharpe_20d_se)s, %(sharpe_60d)s, %(sharpe_60d_se)s,
    %(probabilistic_sharpe_60d)s, %(ic_alert)s, %(psi_alert)s, %(sharpe_alert)s, %(no_data)s,
    %(missing)s::text[]
)
ON CONFLICT DO NOTHING;
