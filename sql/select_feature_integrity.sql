-- What stored values of some sessions have that none should, by feature, of what has a price in
-- those sessions; what a person has looked at does not count. To find a print that repeats the one
-- before it, each series is gone through in the order of its key; that takes far longer than the
-- rest, and is done for the newest alone.
WITH priced AS (
    SELECT DISTINCT ticker
    FROM price_bars
    WHERE event_time BETWEEN %(first_open)s AND %(last_close)s
      AND (%(tickers)s::text[] IS NULL OR ticker IN (SELECT unnest(%(tickers)s::text[])))
),
features AS (
    SELECT *
    FROM unnest(%(names)s::text[], %(versions)s::integer[], %(allows_missing)s::boolean[])
        AS f (feature_name, feature_version, allows_missing)
),
looked_at AS (
    SELECT e.feature_name, e.feature_version, e.entity_key, e.event_time, e.ingest_time,
           1 AS rows,
           NOT f.allows_missing AND e.value_json IS NULL AND (
               e.value_double IS NULL OR e.value_double IN ('NaN', 'Infinity', '-Infinity')
           ) AS undefined,
           -- What another job writes may be about any time, but not beside a value of the close.
           e.event_time NOT IN (SELECT unnest(%(closes)s::timestamptz[])) AND EXISTS (
               SELECT FROM feature_events AS other
               WHERE other.entity_key = e.entity_key
                 AND other.feature_name = e.feature_name
                 AND other.feature_version = e.feature_version
                 AND other.event_time = (
                     SELECT min(close) FROM unnest(%(closes)s::timestamptz[]) AS c (close)
                     WHERE close > e.event_time
                 )
           ) AS off_close,
           false AS repeated,
           e.ingest_time < e.event_time AS early
    FROM priced AS b
    CROSS JOIN features AS f
    JOIN feature_events AS e
      ON e.entity_key = b.ticker
     AND e.feature_name = f.feature_name
     AND e.feature_version = f.feature_version
     AND e.event_time BETWEEN %(first_open)s AND %(last_close)s
    UNION ALL
    SELECT f.feature_name, f.feature_version, b.ticker, e.event_time, e.ingest_time,
           0, false, false, true, false
    FROM priced AS b
    CROSS JOIN features AS f
    CROSS JOIN LATERAL (
        SELECT event_time, ingest_time,
               lag(event_time) OVER prints IS NOT DISTINCT FROM event_time
                   AND lag(value_double) OVER prints IS NOT DISTINCT FROM value_double
                   AND lag(value_json) OVER prints IS NOT DISTINCT FROM value_json AS repeated
        FROM feature_events
        WHERE entity_key = b.ticker
          AND feature_events.feature_name = f.feature_name
          AND feature_events.feature_version = f.feature_version
          AND event_time BETWEEN %(newest_open)s AND %(last_close)s
        WINDOW prints AS (ORDER BY event_time, ingest_time)
    ) AS e
    WHERE e.repeated
),
judged AS (
    SELECT *, (undefined OR off_close OR repeated OR early) AND NOT EXISTS (
        SELECT FROM value_reviews AS r
        WHERE (r.entity_key, r.feature_name, r.feature_version, r.event_time, r.ingest_time)
            = (v.entity_key, v.feature_name, v.feature_version, v.event_time, v.ingest_time)
    ) AS wrong
    FROM looked_at AS v
)
SELECT feature_name, feature_version, sum(rows),
       count(*) FILTER (WHERE wrong AND undefined),
       count(*) FILTER (WHERE wrong AND off_close),
       count(*) FILTER (WHERE wrong AND repeated),
       count(*) FILTER (WHERE wrong AND early),
       min(ARRAY[entity_key, event_time::text]) FILTER (WHERE wrong AND undefined),
       min(ARRAY[entity_key, event_time::text]) FILTER (WHERE wrong AND (off_close OR repeated)),
       min(ARRAY[entity_key, event_time::text]) FILTER (WHERE wrong AND early)
FROM judged
GROUP BY feature_name, feature_version
ORDER BY feature_name COLLATE "C", feature_version;
