-- One row per ticker. A ticker that has adjusted closes is read on that scale alone: a bar without
-- one would put a jump into its returns, and counts as missing.
SELECT ticker, array_agg(session), array_agg(ingest_time), array_agg(coalesce(adj_close, close))
FROM price_bars AS b
JOIN (
    SELECT known.ticker,
           EXISTS (
               SELECT 1 FROM price_bars AS a
               WHERE a.ticker = known.ticker
                 AND a.adj_close IS NOT NULL
                 AND a.ingest_time <= %(as_of)s
           ) AS adjusted
    FROM (SELECT DISTINCT ticker FROM price_bars
          WHERE session BETWEEN %(first)s AND %(last)s) AS known
) AS scale USING (ticker)
WHERE session BETWEEN %(first)s AND %(last)s
  AND ingest_time <= %(as_of)s
  AND (%(tickers)s::text[] IS NULL OR ticker IN (SELECT unnest(%(tickers)s::text[])))
  AND (b.adj_close IS NOT NULL OR NOT scale.adjusted)
GROUP BY ticker;
