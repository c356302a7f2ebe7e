-- Written without code, a feature has no logic until its definition is declared.
INSERT INTO feature_definitions (
    feature_name, feature_version, logic_hash, lookback, availability_lag
)
SELECT feature_name, feature_version, '', 0, interval '0'
FROM unnest(%(names)s::text[], %(versions)s::integer[])
    WITH ORDINALITY AS written (feature_name, feature_version, nth)
WHERE NOT EXISTS (
    SELECT 1 FROM feature_definitions AS d
    WHERE d.feature_name = written.feature_name AND d.feature_version = written.feature_version
)
ORDER BY nth
ON CONFLICT DO NOTHING;
