CREATE TEMPORARY TABLE staged_feature_events (
    entity_key text, feature_name text, feature_version integer, event_time timestamptz,
    ingest_time timestamptz, value_double double precision, value_json text
) ON COMMIT DROP;
