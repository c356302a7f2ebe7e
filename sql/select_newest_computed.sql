-- Before a session: the newest one with a price of some tickers, or of any, and the newest event of
-- some features of what had a price then.
WITH priced AS (
    SELECT max(session) AS session
    FROM price_bars
    WHERE session < %(session)s
      AND (%(tickers)s::text[] IS NULL OR ticker IN (SELECT unnest(%(tickers)s::text[])))
)
SELECT priced.session, (
    SELECT max(e.event_time)
    FROM price_bars AS b
    CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[]) AS f (name, version)
    CROSS JOIN LATERAL (
        SELECT event_time
        FROM feature_events
        WHERE entity_key = b.ticker AND feature_name = f.name AND feature_version = f.version
          AND event_time < %(open)s
        ORDER BY event_time DESC
        LIMIT 1
    ) AS e
    WHERE b.session = priced.session
      AND (%(tickers)s::text[] IS NULL OR b.ticker IN (SELECT unnest(%(tickers)s::text[])))
)
FROM priced;
