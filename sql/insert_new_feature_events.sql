INSERT INTO feature_events (
    entity_key, feature_name, feature_version, event_time, ingest_time, value_double, value_json,
    producer, producer_version, run_id
)
SELECT entity_key, feature_name, feature_version, event_time, ingest_time, value_double,
       value_json::jsonb, %(producer)s, %(producer_version)s, %(run_id)s
FROM staged_feature_events;
