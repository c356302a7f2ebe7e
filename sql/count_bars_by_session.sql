-- How many bars of each session were known, so that work on them can be cut into even parts.
SELECT session, count(*)
FROM price_bars
WHERE session BETWEEN %(first)s AND %(last)s
  AND ingest_time <= %(knowledge_time)s
  AND (%(tickers)s::text[] IS NULL OR ticker IN (SELECT unnest(%(tickers)s::text[])))
GROUP BY session;
