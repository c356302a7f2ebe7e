-- How many staged bars say something else than one of another source that was known before them,
-- and the newest as an example. What is staged is news, so that what is found differs.
WITH restated AS (
    SELECT s.ticker, s.session, s.close, s.source,
           b.close AS close_before, b.source AS source_before
    FROM staged_price_bars AS s
    CROSS JOIN LATERAL (
        SELECT close, source
        FROM price_bars AS p
        WHERE p.ticker = s.ticker
          AND p.event_time = s.event_time
          AND p.ingest_time < s.ingest_time
        ORDER BY p.ingest_time DESC
        LIMIT 1
    ) AS b
    WHERE s.ticker = ANY (%(tickers)s::text[]) AND b.source <> s.source
)
SELECT count(*) OVER (), ticker, session, close_before, source_before, close, source
FROM restated
ORDER BY session DESC, ticker COLLATE "C"
LIMIT 1;
