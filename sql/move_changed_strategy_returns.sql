-- What was believed before stays, with the time until which it was believed. The last digits of a
-- sum depend on the range of sessions it is taken in: a difference there is none.
WITH changed AS (
    DELETE FROM strategy_returns
    WHERE strategy_id = %(strategy_id)s AND session = %(session)s
      AND ((model_id, names) IS DISTINCT FROM (%(model_id)s, %(names)s)
           OR greatest(
                  abs(gross_return - %(gross_return)s), abs(turnover - %(turnover)s),
                  abs(cost - %(cost)s), abs(market_return - %(market_return)s)
              ) > 1e-12)
    RETURNING *
)
INSERT INTO strategy_returns_history (
    strategy_id, session, event_time, model_id, names, gross_return, turnover, cost, net_return,
    market_return, recorded_at
)
SELECT strategy_id, session, event_time, model_id, names, gross_return, turnover, cost, net_return,
       market_return, recorded_at
FROM changed;
