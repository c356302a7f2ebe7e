-- How many staged bars change a stored close by more than a share of it, and the largest change as
-- an example. Held against is what was known last before the bar, or first after it.
WITH restated AS (
    SELECT s.ticker, s.session, s.close, b.close AS close_before
    FROM staged_price_bars AS s
    CROSS JOIN LATERAL (
        SELECT p.close
        FROM price_bars AS p
        WHERE p.ticker = s.ticker AND p.event_time = s.event_time
        ORDER BY p.ingest_time < s.ingest_time DESC,
                 abs(extract(epoch FROM p.ingest_time - s.ingest_time))
        LIMIT 1
    ) AS b
    WHERE s.ticker = ANY (%(tickers)s::text[])
)
SELECT count(*) OVER (), ticker, session, close_before, close
FROM restated
WHERE abs(close / close_before - 1) > %(share)s::double precision
ORDER BY abs(ln(close) - ln(close_before)) DESC, session DESC, ticker COLLATE "C"
LIMIT 1;
