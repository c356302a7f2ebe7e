INSERT INTO feature_definitions (
    feature_name, feature_version, logic_hash, lookback, availability_lag
)
SELECT DISTINCT feature_name, feature_version, '', 0, interval '0'
FROM staged_feature_events
ORDER BY feature_name, feature_version
ON CONFLICT DO NOTHING;
