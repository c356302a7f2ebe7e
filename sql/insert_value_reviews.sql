-- Record that a person has looked at the values of an event.
INSERT INTO value_reviews
    (entity_key, feature_name, feature_version, event_time, ingest_time, reviewed_by, reason)
SELECT entity_key, feature_name, feature_version, event_time, ingest_time, %(by)s, %(reason)s
FROM feature_events
WHERE entity_key = %(entity)s
  AND feature_name = %(name)s
  AND event_time = %(event_time)s
ON CONFLICT DO NOTHING;
