SELECT entity_key, feature_name, feature_version, event_time, ingest_time,
       greatest(event_time, ingest_time) AS as_of_time,
       value_double, value_json, producer
FROM feature_events
WHERE entity_key = %(entity)s
  AND feature_name = %(name)s
  AND feature_version = %(version)s
  AND (%(event_time)s::timestamptz IS NULL OR event_time = %(event_time)s)
ORDER BY ingest_time, event_time;
