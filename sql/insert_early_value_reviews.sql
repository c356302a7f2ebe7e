-- Record that a person has looked at the values of an event that are stored as known before it.
INSERT INTO early_value_reviews
    (entity_key, feature_name, feature_version, event_time, ingest_time, reviewed_by, reason)
SELECT entity_key, feature_name, feature_version, event_time, ingest_time, %(by)s, %(reason)s
FROM feature_events
WHERE entity_key = %(entity)s
  AND feature_name = %(name)s
  AND event_time = %(event_time)s
  AND ingest_time < event_time
ON CONFLICT DO NOTHING;
