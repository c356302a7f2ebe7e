SELECT session, model_id, net_return
FROM strategy_returns
WHERE strategy_id = %s AND session BETWEEN %s AND %s;
