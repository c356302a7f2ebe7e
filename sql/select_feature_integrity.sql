-- What stored values of some sessions have that none should, by feature. Only what has a price in
-- those sessions is looked at, each series by its key, so that no other session is read; within a
-- series the key's order is that of the window.
SELECT f.feature_name, f.feature_version, count(*),
       count(*) FILTER (WHERE e.undefined AND NOT f.allows_missing),
       count(*) FILTER (WHERE e.off_close),
       count(*) FILTER (WHERE e.repeated),
       count(*) FILTER (WHERE e.early),
       min(format('%%s at %%s', b.ticker, e.event_time)) FILTER (
           WHERE e.undefined AND NOT f.allows_missing OR e.off_close OR e.repeated OR e.early
       )
FROM (
    SELECT DISTINCT ticker FROM price_bars WHERE event_time BETWEEN %(first_open)s AND %(last_close)s
) AS b
CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[], %(allows_missing)s::boolean[])
    AS f (feature_name, feature_version, allows_missing)
CROSS JOIN LATERAL (
    SELECT event_time,
           value_json IS NULL AND (
               value_double IS NULL OR value_double IN ('NaN', 'Infinity', '-Infinity')
           ) AS undefined,
           -- What another job writes may be about any time, but not beside a value of the close.
           event_time NOT IN (SELECT unnest(%(closes)s::timestamptz[])) AND EXISTS (
               SELECT FROM feature_events AS other
               WHERE other.entity_key = b.ticker
                 AND other.feature_name = f.feature_name
                 AND other.feature_version = f.feature_version
                 AND other.event_time = (
                     SELECT min(close) FROM unnest(%(closes)s::timestamptz[]) AS c (close)
                     WHERE close > feature_events.event_time
                 )
           ) AS off_close,
           lag(ingest_time) OVER prints IS NOT NULL
               AND lag(value_double) OVER prints IS NOT DISTINCT FROM value_double
               AND lag(value_json) OVER prints IS NOT DISTINCT FROM value_json AS repeated,
           ingest_time < event_time AS early
    FROM feature_events
    WHERE entity_key = b.ticker
      AND feature_events.feature_name = f.feature_name
      AND feature_events.feature_version = f.feature_version
      AND event_time BETWEEN %(first_open)s AND %(last_close)s
    WINDOW prints AS (PARTITION BY event_time ORDER BY ingest_time)
) AS e
GROUP BY f.feature_name, f.feature_version
ORDER BY f.feature_name COLLATE "C", f.feature_version;
