-- What was known of each offered bar, stored or offered, in the order it became known; an offered
-- bar is new where it differs from the one before it.
WITH known AS (
    SELECT b.ticker, b.session, b.event_time, b.ingest_time, b.open, b.high, b.low, b.close,
           b.adj_close, b.volume, b.availability_observed, b.source, false AS offered
    FROM price_bars AS b
    JOIN (SELECT DISTINCT ticker, event_time FROM staged_price_bars) AS s USING (ticker, event_time)
    UNION ALL
    SELECT *, true
    FROM (
        SELECT DISTINCT ON (ticker, event_time, ingest_time)
               ticker, session, event_time, ingest_time, open, high, low, close, adj_close, volume,
               availability_observed, source
        FROM staged_price_bars
        ORDER BY ticker, event_time, ingest_time
    ) AS distinct_bars
),
neighbours AS (
    SELECT *,
           row(open, high, low, close, adj_close, volume) AS bar,
           lag(row(open, high, low, close, adj_close, volume)) OVER revisions AS bar_before,
           row_number() OVER revisions AS nth
    FROM known
    WINDOW revisions AS (PARTITION BY ticker, event_time ORDER BY ingest_time, offered)
)
INSERT INTO price_bars (
    ticker, session, event_time, ingest_time, open, high, low, close, adj_close, volume,
    availability_observed, source
)
SELECT ticker, session, event_time, ingest_time, open, high, low, close, adj_close, volume,
       availability_observed, source
FROM neighbours
WHERE offered AND (nth = 1 OR bar IS DISTINCT FROM bar_before)
ORDER BY ticker, event_time, ingest_time;
