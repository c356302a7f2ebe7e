SELECT feature_name, feature_version, logic_hash, lookback, availability_lag, description,
       registered_at, allows_missing
FROM feature_definitions
ORDER BY feature_name, feature_version;
