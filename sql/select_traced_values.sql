-- The newest value of each feature known at a decision, among the rows written by a time.
SELECT f.feature_name, f.feature_version, e.value_double AS value, e.event_time, e.ingest_time,
       e.producer, e.producer_version, e.run_id, e.recorded_at
FROM unnest(%(names)s::text[], %(versions)s::integer[])
    WITH ORDINALITY AS f (feature_name, feature_version, nth)
LEFT JOIN LATERAL (
    SELECT s.*
    FROM feature_events AS s
    WHERE s.entity_key = %(entity)s
      AND s.feature_name = f.feature_name
      AND s.feature_version = f.feature_version
      AND s.event_time <= %(as_of)s
      AND s.ingest_time <= %(as_of)s
      AND (%(recorded_by)s::timestamptz IS NULL OR s.recorded_at <= %(recorded_by)s)
    ORDER BY s.event_time DESC, s.ingest_time DESC
    LIMIT 1
) AS e ON true
ORDER BY f.nth;
