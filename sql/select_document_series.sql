-- Series that hold JSON documents: numbers as usual, and each document as text.
SELECT s.entity_key, s.feature_name,
       array_agg(e.event_time), array_agg(e.ingest_time),
       array_agg(coalesce(e.value_double, 'NaN')), array_agg(e.value_json::text)
FROM unnest(%(entities)s::text[], %(names)s::text[], %(versions)s::integer[])
    AS s (entity_key, feature_name, feature_version)
JOIN feature_events AS e USING (entity_key, feature_name, feature_version)
WHERE e.event_time BETWEEN %(first)s AND %(last)s
  AND e.ingest_time <= %(knowledge_time)s
GROUP BY s.entity_key, s.feature_name;
