-- Of some entities, or of all, those with prices in a range of sessions or with feature values in a
-- range of events. No index begins with the event, so the key is walked from one entity to the next
-- instead of reading the whole log.
WITH RECURSIVE served AS (
    (
        SELECT entity_key FROM feature_events
        WHERE event_time BETWEEN %(first_event)s AND %(last_event)s
        ORDER BY entity_key LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT e.entity_key FROM feature_events AS e
        WHERE e.entity_key > s.entity_key
          AND e.event_time BETWEEN %(first_event)s AND %(last_event)s
        ORDER BY e.entity_key LIMIT 1
    )
    FROM served AS s
    WHERE s.entity_key IS NOT NULL
)
SELECT entity_key
FROM (
    SELECT entity_key FROM served WHERE entity_key IS NOT NULL
    UNION
    SELECT ticker FROM price_bars WHERE session BETWEEN %(first_session)s AND %(last_session)s
) AS found
WHERE (%(tickers)s::text[] IS NULL OR entity_key IN (SELECT unnest(%(tickers)s::text[])));
