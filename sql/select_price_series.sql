-- One row per ticker; close, open, high and low are on the adjusted scale where there is one.
SELECT ticker,
       array_agg(session),
       array_agg(event_time),
       array_agg(ingest_time),
       array_agg(coalesce(open * (adj_close / close), open, 'NaN')),
       array_agg(coalesce(high * (adj_close / close), high, 'NaN')),
       array_agg(coalesce(low * (adj_close / close), low, 'NaN')),
       array_agg(coalesce(adj_close, close)),
       array_agg(coalesce(volume, 'NaN'))
FROM price_bars
WHERE session BETWEEN %(first)s AND %(last)s
  AND ingest_time <= least(%(as_of)s, now())
  AND (%(tickers)s::text[] IS NULL OR ticker = ANY (%(tickers)s))
GROUP BY ticker;
