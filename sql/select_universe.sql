-- One row per ticker: each bar of the sessions before the decisions, and when it became known.
SELECT ticker, array_agg(session), array_agg(ingest_time)
FROM price_bars
WHERE session BETWEEN %(first)s AND %(last)s
  AND ingest_time <= %(knowledge_time)s
  AND (%(tickers)s::text[] IS NULL OR ticker IN (SELECT unnest(%(tickers)s::text[])))
GROUP BY ticker;
