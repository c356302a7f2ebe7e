-- Neighbours suffice: if two bars of one key differ, so do two that follow each other.
WITH said AS (
    SELECT ticker, event_time, ingest_time, session, source, true AS offered,
           ARRAY[open, high, low, close, adj_close, volume] AS bar
    FROM staged_price_bars
    UNION ALL
    SELECT b.ticker, b.event_time, b.ingest_time, b.session, b.source, false,
           ARRAY[b.open, b.high, b.low, b.close, b.adj_close, b.volume]
    FROM price_bars AS b
    WHERE EXISTS (
        SELECT 1 FROM staged_price_bars AS s
        WHERE s.ticker = b.ticker
          AND s.event_time = b.event_time
          AND s.ingest_time = b.ingest_time
    )
),
neighbours AS (
    SELECT *,
           lag(bar) OVER same_key AS bar_before,
           lag(source) OVER same_key AS source_before,
           lag(offered) OVER same_key AS offered_before,
           row_number() OVER same_key AS nth
    FROM said
    WINDOW same_key AS (PARTITION BY ticker, event_time, ingest_time ORDER BY offered)
)
SELECT ticker, session, ingest_time, bar_before, bar, source_before, offered_before
FROM neighbours
WHERE nth > 1 AND bar IS DISTINCT FROM bar_before
ORDER BY ticker, event_time, ingest_time
LIMIT 1;
