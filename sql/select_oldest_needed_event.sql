-- What is known of a series when an entity is first asked for is never surpassed by an older event
-- later, so nothing before the oldest of these events can be an answer.
SELECT min(coalesce(newest.event_time, oldest.event_time))
FROM unnest(%(entities)s::text[], %(times)s::timestamptz[]) AS e (entity_key, first_time)
CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[]) AS f (feature_name, feature_version)
LEFT JOIN LATERAL (
    SELECT event_time FROM feature_events AS s
    WHERE s.entity_key = e.entity_key
      AND s.feature_name = f.feature_name
      AND s.feature_version = f.feature_version
      AND s.event_time <= e.first_time
      AND s.ingest_time <= least(e.first_time, %(knowledge_time)s::timestamptz)
    ORDER BY event_time DESC, ingest_time DESC
    LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT event_time FROM feature_events AS s
    WHERE newest.event_time IS NULL
      AND s.entity_key = e.entity_key
      AND s.feature_name = f.feature_name
      AND s.feature_version = f.feature_version
    ORDER BY event_time, ingest_time
    LIMIT 1
) AS oldest ON true;
