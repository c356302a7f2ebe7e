-- A row that was recorded long after its ingest time was not seen to become known then. Two
-- instants are subtracted, as adding a day to one would make it 23 hours where clocks change.
SELECT e.feature_name,
       count(*),
       count(*) FILTER (WHERE e.recorded_at - e.ingest_time > %(tolerance)s)
FROM unnest(%(names)s::text[], %(versions)s::integer[]) AS f (feature_name, feature_version)
JOIN feature_events AS e
  ON e.feature_name = f.feature_name AND e.feature_version = f.feature_version
WHERE e.entity_key = ANY (%(entities)s)
  AND e.event_time BETWEEN %(first)s AND %(last)s
  AND e.ingest_time <= %(knowledge_time)s
GROUP BY e.feature_name;
