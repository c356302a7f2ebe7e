-- Neighbours suffice: if two rows of one key differ, so do two that follow each other.
WITH said AS (
    SELECT entity_key, feature_name, feature_version, event_time, ingest_time,
           value_double, value_json::jsonb AS value_json, true AS offered
    FROM staged_feature_events
    UNION ALL
    SELECT f.entity_key, f.feature_name, f.feature_version, f.event_time, f.ingest_time,
           f.value_double, f.value_json, false
    FROM feature_events AS f
    WHERE EXISTS (
        SELECT 1 FROM staged_feature_events AS s
        WHERE s.entity_key = f.entity_key
          AND s.feature_name = f.feature_name
          AND s.feature_version = f.feature_version
          AND s.event_time = f.event_time
          AND s.ingest_time = f.ingest_time
    )
),
neighbours AS (
    SELECT *,
           lag(value_double) OVER same_key AS double_before,
           lag(value_json) OVER same_key AS json_before,
           row_number() OVER same_key AS nth
    FROM said
    WINDOW same_key AS (
        PARTITION BY entity_key, feature_name, feature_version, event_time, ingest_time
        ORDER BY offered
    )
)
SELECT entity_key, feature_name, feature_version, event_time, ingest_time,
       coalesce(double_before::text, json_before::text, 'missing'),
       coalesce(value_double::text, value_json::text, 'missing')
FROM neighbours
WHERE nth > 1
  AND (value_double IS DISTINCT FROM double_before OR value_json IS DISTINCT FROM json_before)
ORDER BY entity_key, feature_name, feature_version, event_time, ingest_time
LIMIT 1;
