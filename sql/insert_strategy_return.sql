INSERT INTO strategy_returns (
    strategy_id, session, event_time, model_id, names, gross_return, turnover, cost, net_return,
    market_return
)
VALUES (
    %(strategy_id)s, %(session)s, %(event_time)s, %(model_id)s, %(names)s, %(gross_return)s,
    %(turnover)s, %(cost)s, %(net_return)s, %(market_return)s
)
ON CONFLICT DO NOTHING;
