-- As select_known_values, with the first print of the event that was found.
SELECT q.nth - 1, f.nth - 1, p.value_double, p.value_json::text
FROM unnest(
    %(entities)s::text[], %(times)s::timestamptz[], %(seen_by)s::timestamptz[],
    %(oldest)s::timestamptz[]
) WITH ORDINALITY AS q (entity_key, as_of_time, seen_by, oldest, nth)
CROSS JOIN unnest(%(names)s::text[], %(versions)s::integer[])
    WITH ORDINALITY AS f (feature_name, feature_version, nth)
CROSS JOIN LATERAL (
    SELECT event_time
    FROM feature_events AS s
    WHERE s.entity_key = q.entity_key
      AND s.feature_name = f.feature_name
      AND s.feature_version = f.feature_version
      AND s.event_time <= q.as_of_time
      AND s.ingest_time <= q.seen_by
    ORDER BY event_time DESC, ingest_time DESC
    LIMIT 1
) AS e
CROSS JOIN LATERAL (
    SELECT value_double, value_json
    FROM feature_events AS s
    WHERE s.entity_key = q.entity_key
      AND s.feature_name = f.feature_name
      AND s.feature_version = f.feature_version
      AND s.event_time = e.event_time
    ORDER BY ingest_time
    LIMIT 1
) AS p
WHERE e.event_time >= q.oldest;
