-- Values of a span of time that are stored as known before the time they are about, of what has a
-- price in it, without those that a person has looked at.
SELECT e.entity_key, e.feature_name, e.feature_version, e.event_time, e.ingest_time,
       greatest(e.event_time, e.ingest_time) AS as_of_time,
       e.value_double, e.value_json, e.producer
FROM feature_events AS e
JOIN unnest(%(names)s::text[], %(versions)s::integer[]) AS f (feature_name, feature_version)
  ON e.feature_name = f.feature_name AND e.feature_version = f.feature_version
WHERE e.event_time BETWEEN %(first_open)s AND %(last_close)s
  AND e.ingest_time < e.event_time
  AND e.entity_key IN (
      SELECT ticker FROM price_bars WHERE event_time BETWEEN %(first_open)s AND %(last_close)s
  )
  AND (%(tickers)s::text[] IS NULL OR e.entity_key IN (SELECT unnest(%(tickers)s::text[])))
  AND NOT EXISTS (
      SELECT FROM value_reviews AS r
      WHERE (r.entity_key, r.feature_name, r.feature_version, r.event_time, r.ingest_time)
          = (e.entity_key, e.feature_name, e.feature_version, e.event_time, e.ingest_time)
  )
ORDER BY e.event_time, e.feature_name, e.entity_key, e.ingest_time
LIMIT %(most)s;
