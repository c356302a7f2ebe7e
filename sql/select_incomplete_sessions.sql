-- Of some sessions those that were never judged for a strategy, or of which no price of its tickers
-- is stored.
SELECT wanted.session
FROM unnest(%(sessions)s::date[]) AS wanted (session)
WHERE NOT EXISTS (
    SELECT FROM drift_metrics AS m
    WHERE m.strategy_id = %(strategy_id)s AND m.date = wanted.session
) OR NOT EXISTS (
    SELECT FROM price_bars AS b
    WHERE b.session = wanted.session
      AND (%(tickers)s::text[] IS NULL OR b.ticker IN (SELECT unnest(%(tickers)s::text[])))
)
ORDER BY wanted.session;
