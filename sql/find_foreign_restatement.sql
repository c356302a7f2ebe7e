-- How many staged bars say something else of a session than another source did, and the newest of
-- them as an example. Which of the two was known first makes no difference.
WITH restated AS (
    SELECT s.ticker, s.session, s.close, s.source,
           b.close AS close_before, b.source AS source_before
    FROM staged_price_bars AS s
    CROSS JOIN LATERAL (
        SELECT p.close, p.source
        FROM price_bars AS p
        WHERE p.ticker = s.ticker
          AND p.event_time = s.event_time
          AND p.source <> s.source
          AND (p.open, p.high, p.low, p.close, p.adj_close, p.volume)
              IS DISTINCT FROM (s.open, s.high, s.low, s.close, s.adj_close, s.volume)
        ORDER BY p.ingest_time DESC
        LIMIT 1
    ) AS b
    WHERE s.ticker = ANY (%(tickers)s::text[])
)
SELECT count(*) OVER (), ticker, session, close_before, source_before, close, source
FROM restated
ORDER BY session DESC, ticker COLLATE "C"
LIMIT 1;
