WITH numbered AS (
    SELECT market_return, row_number() OVER (ORDER BY session DESC) AS age
    FROM strategy_returns
    WHERE strategy_id = %(strategy_id)s AND session <= %(session)s
)
SELECT avg(market_return) FILTER (WHERE age <= %(recent)s),
       stddev_samp(market_return) FILTER (WHERE age <= %(recent)s),
       avg(market_return) FILTER (WHERE age > %(recent)s),
       stddev_samp(market_return) FILTER (WHERE age > %(recent)s)
FROM numbered;
