-- For each feature and entity the newest event that was known at an instant, and whether it has a
-- value; entities of which nothing was known have no row.
SELECT f.feature_name, n.entity_key, e.event_time,
       e.value_double IS NOT NULL OR (e.value_json IS NOT NULL AND NOT %(numbers_only)s)
FROM unnest(%(names)s::text[], %(versions)s::integer[]) AS f (feature_name, feature_version)
CROSS JOIN unnest(%(entities)s::text[]) AS n (entity_key)
CROSS JOIN LATERAL (
    SELECT event_time, value_double, value_json
    FROM feature_events AS s
    WHERE s.entity_key = n.entity_key
      AND s.feature_name = f.feature_name
      AND s.feature_version = f.feature_version
      AND s.event_time <= %(as_of)s
      AND s.ingest_time <= %(as_of)s
    ORDER BY event_time DESC, ingest_time DESC
    LIMIT 1
) AS e;
