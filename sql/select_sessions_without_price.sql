-- Of some sessions those of which no price of some tickers, or of any, is stored.
SELECT wanted.session
FROM unnest(%(sessions)s::date[]) AS wanted (session)
WHERE NOT EXISTS (
    SELECT FROM price_bars AS b
    WHERE b.session = wanted.session
      AND (%(tickers)s::text[] IS NULL OR b.ticker IN (SELECT unnest(%(tickers)s::text[])))
)
ORDER BY wanted.session;
