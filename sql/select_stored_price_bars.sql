-- One row for each offered ticker with anything stored in the range of time that is offered.
SELECT o.ticker, s.*
FROM unnest(%(tickers)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
    AS o (ticker, first, last)
CROSS JOIN LATERAL (
    SELECT array_agg(event_time) AS event_times,
           array_agg(ingest_time) AS ingest_times,
           array_agg(coalesce(open, 'NaN')),
           array_agg(coalesce(high, 'NaN')),
           array_agg(coalesce(low, 'NaN')),
           array_agg(coalesce(close, 'NaN')),
           array_agg(coalesce(adj_close, 'NaN')),
           array_agg(coalesce(volume, 'NaN'))
    FROM price_bars AS b
    WHERE b.ticker = o.ticker
      AND b.event_time BETWEEN o.first AND o.last
) AS s
WHERE s.event_times IS NOT NULL;
