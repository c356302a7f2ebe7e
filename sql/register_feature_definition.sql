-- Values may have been written before their code was declared; the first declaration counts.
INSERT INTO feature_definitions AS stored (
    feature_name, feature_version, logic_hash, lookback, availability_lag, allows_missing,
    description
)
VALUES (
    %(name)s, %(version)s, %(logic_hash)s, %(lookback)s, %(lag)s, %(allows_missing)s,
    %(description)s
)
ON CONFLICT (feature_name, feature_version) DO UPDATE
SET logic_hash = CASE stored.logic_hash
        WHEN '' THEN excluded.logic_hash ELSE stored.logic_hash END,
    lookback = CASE stored.logic_hash
        WHEN '' THEN excluded.lookback ELSE stored.lookback END,
    availability_lag = CASE stored.logic_hash
        WHEN '' THEN excluded.availability_lag ELSE stored.availability_lag END,
    allows_missing = CASE stored.logic_hash
        WHEN '' THEN excluded.allows_missing ELSE stored.allows_missing END,
    description = CASE stored.logic_hash
        WHEN '' THEN excluded.description ELSE stored.description END
RETURNING logic_hash;
