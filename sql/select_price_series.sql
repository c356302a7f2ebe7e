-- One row per ticker. A ticker that has adjusted closes is read on that scale alone: a bar without
-- one would put a jump into its returns, and counts as missing.
SELECT ticker,
       array_agg(session),
       array_agg(ingest_time),
       array_agg(coalesce(open * (adj_close / close), open, 'NaN')),
       array_agg(coalesce(high * (adj_close / close), high, 'NaN')),
       array_agg(coalesce(low * (adj_close / close), low, 'NaN')),
       array_agg(coalesce(adj_close, close)),
       array_agg(coalesce(volume, 'NaN'))
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
  AND ingest_time <= least(%(as_of)s, now())
  AND (%(tickers)s::text[] IS NULL OR ticker = ANY (%(tickers)s))
  AND (b.adj_close IS NOT NULL OR NOT scale.adjusted)
GROUP BY ticker;
