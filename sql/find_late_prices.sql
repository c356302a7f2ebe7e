-- How many of some served values were written before a bar of their window that was known by then,
-- and the newest such bar as an example.
WITH cells AS (
    SELECT entity_key, event_time, first_close, decision_time, known_by
    FROM unnest(
        %(entities)s::text[], %(events)s::timestamptz[], %(first_closes)s::timestamptz[],
        %(decisions)s::timestamptz[], %(known_by)s::timestamptz[]
    ) AS c (entity_key, event_time, first_close, decision_time, known_by)
),
late AS (
    SELECT DISTINCT ON (c.entity_key, c.event_time) b.ticker, b.session
    FROM cells AS c
    CROSS JOIN LATERAL (
        SELECT e.recorded_at
        FROM feature_events AS e
        WHERE e.entity_key = c.entity_key
          AND e.feature_name = %(name)s
          AND e.feature_version = %(version)s
          AND e.event_time = c.event_time
          AND e.ingest_time <= c.decision_time
        ORDER BY e.ingest_time DESC
        LIMIT 1
    ) AS served
    JOIN price_bars AS b
      ON b.ticker = c.entity_key
     AND b.event_time BETWEEN c.first_close AND c.event_time
     AND b.ingest_time <= c.known_by
     AND b.recorded_at > served.recorded_at
    ORDER BY c.entity_key, c.event_time, b.session DESC
)
SELECT count(*) OVER (), ticker, session
FROM late
ORDER BY session DESC, ticker COLLATE "C"
LIMIT 1;
