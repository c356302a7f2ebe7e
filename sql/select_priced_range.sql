-- First and last session of which a price of some tickers, or of any, is stored.
SELECT min(session), max(session)
FROM price_bars
WHERE (%(tickers)s::text[] IS NULL OR ticker IN (SELECT unnest(%(tickers)s::text[])));
