-- One row per ticker; closes are on the adjusted scale where there is one.
SELECT ticker, array_agg(session), array_agg(ingest_time), array_agg(coalesce(adj_close, close))
FROM price_bars
WHERE session BETWEEN %(first)s AND %(last)s
  AND ingest_time <= %(as_of)s
GROUP BY ticker;
