SELECT q.entity_key, f.feature_name, f.feature_version, e.event_time, e.ingest_time,
       q.as_of_time, e.value_double, e.value_json, e.producer
FROM unnest(
    %(entities)s::text[], %(times)s::timestamptz[], %(seen_by)s::timestamptz[],
    %(oldest)s::timestamptz[]
) WITH ORDINALITY AS q (entity_key, as_of_time, seen_by, oldest, nth)
CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[])
    WITH ORDINALITY AS f (feature_name, feature_version, nth)
CROSS JOIN LATERAL (
    SELECT event_time, ingest_time, value_double, value_json, producer
    FROM feature_events AS s
    WHERE s.entity_key = q.entity_key
      AND s.feature_name = f.feature_name
      AND s.feature_version = f.feature_version
      AND s.event_time <= q.as_of_time
      AND s.ingest_time <= q.seen_by
    ORDER BY event_time DESC, ingest_time DESC
    LIMIT 1
) AS e
WHERE e.event_time >= q.oldest
ORDER BY q.nth, f.nth;
