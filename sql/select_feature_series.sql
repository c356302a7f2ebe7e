-- One row per series, read along the primary key: its rows arrive in order of event and ingest
-- time, and neither side holds more than one series at once.
SELECT e.entity_key, f.feature_name, s.event_times, s.ingest_times, s.numbers, s.documents
FROM unnest(%(entities)s::text[]) AS e (entity_key)
CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[]) AS f (feature_name, feature_version)
CROSS JOIN LATERAL (
    SELECT array_agg(event_time) AS event_times,
           array_agg(ingest_time) AS ingest_times,
           array_agg(coalesce(value_double, 'NaN')) AS numbers,
           count(value_json) AS documents
    FROM feature_events
    WHERE entity_key = e.entity_key
      AND feature_name = f.feature_name
      AND feature_version = f.feature_version
      AND event_time BETWEEN %(first)s AND %(last)s
      AND ingest_time <= %(knowledge_time)s
) AS s
WHERE s.event_times IS NOT NULL;
