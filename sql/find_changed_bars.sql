-- Bars written since an instant that restate a stored one or come after a later session's, as
-- spans of sessions; what has a new session only is no change.
WITH reached AS (
    SELECT ticker, session, ingest_time, recorded_at,
           row_number() OVER (PARTITION BY ticker, event_time ORDER BY ingest_time) AS nth_print,
           min(ingest_time) OVER (
               PARTITION BY ticker ORDER BY event_time DESC, ingest_time DESC
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
           ) AS first_print_of_later_ones
    FROM price_bars
    WHERE session >= (SELECT min(session) FROM price_bars WHERE recorded_at >= %(since)s)
      AND ingest_time <= %(as_of)s
      AND (%(tickers)s::text[] IS NULL OR ticker = ANY (%(tickers)s))
)
SELECT ticker, min(session), max(session)
FROM reached
WHERE recorded_at >= %(since)s
  AND (nth_print > 1 OR first_print_of_later_ones <= ingest_time)
GROUP BY ticker
ORDER BY 2, 3, 1;
