-- One row per series, unordered; the reader sorts, and needs no order from the server.
SELECT e.entity_key, e.feature_name,
       array_agg(e.event_time), array_agg(e.ingest_time), array_agg(coalesce(e.value_double, 'NaN'))
FROM feature_events AS e
JOIN unnest(%(names)s::text[], %(versions)s::integer[]) AS f (feature_name, feature_version)
  ON e.feature_name = f.feature_name AND e.feature_version = f.feature_version
WHERE e.entity_key = ANY (%(entities)s)
  AND e.event_time <= %(last)s
  AND (%(first)s::timestamptz IS NULL OR e.event_time >= %(first)s)
  AND e.ingest_time <= %(knowledge_time)s
GROUP BY e.entity_key, e.feature_name;
