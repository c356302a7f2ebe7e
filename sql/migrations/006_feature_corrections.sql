-- Up to which time of writing the changes of price bars have been carried into features.

CREATE TABLE feature_corrections (
    strategy_id   text        NOT NULL PRIMARY KEY CHECK (strategy_id <> ''),
    applied_until timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN feature_corrections.applied_until IS
    'bars written before this have been looked at, by the database''s clock';
