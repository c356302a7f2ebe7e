SELECT 1
FROM staged_feature_events
GROUP BY entity_key, feature_name, feature_version, event_time
HAVING count(*) > 1
LIMIT 1;
