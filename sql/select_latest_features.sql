-- A row for each feature that is asked for: its version, null if it is not in the store, and the
-- newest value known, null if there is none. One round trip, as callers wait for it.
SELECT f.feature_name, v.feature_version, e.event_time, e.ingest_time, t.as_of_time,
       e.value_double, e.value_json, e.producer
FROM (SELECT coalesce(%(as_of)s::timestamptz, now()) AS as_of_time) AS t
CROSS JOIN unnest(%(names)s::text[]) WITH ORDINALITY AS f (feature_name, nth)
LEFT JOIN LATERAL (
    SELECT max(d.feature_version) AS feature_version
    FROM feature_definitions AS d
    WHERE d.feature_name = f.feature_name
      AND (%(version)s::integer IS NULL OR d.feature_version = %(version)s)
) AS v ON true
LEFT JOIN LATERAL (
    SELECT event_time, ingest_time, value_double, value_json, producer
    FROM feature_events AS s
    WHERE s.entity_key = %(entity)s
      AND s.feature_name = f.feature_name
      AND s.feature_version = v.feature_version
      AND s.event_time <= t.as_of_time
      AND s.ingest_time <= least(t.as_of_time, now())
    ORDER BY event_time DESC, ingest_time DESC
    LIMIT 1
) AS e ON true
ORDER BY f.nth;
