-- The bitemporal log of feature values, and the definitions that produced them.

CREATE TABLE feature_definitions (
    feature_name     text        NOT NULL CHECK (feature_name <> ''),
    feature_version  integer     NOT NULL CHECK (feature_version > 0),
    logic_hash       text        NOT NULL,
    lookback         integer     NOT NULL CHECK (lookback >= 0),
    availability_lag interval    NOT NULL,
    allows_missing   boolean     NOT NULL DEFAULT false,
    description      text        NOT NULL DEFAULT '',
    registered_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (feature_name, feature_version)
);

CREATE TABLE feature_events (
    entity_key       text             NOT NULL CHECK (entity_key <> ''),
    feature_name     text             NOT NULL CHECK (feature_name <> ''),
    feature_version  integer          NOT NULL DEFAULT 1 CHECK (feature_version > 0),
    event_time       timestamptz      NOT NULL,
    ingest_time      timestamptz      NOT NULL,
    value_double     double precision
        CHECK (value_double > '-Infinity' AND value_double < 'Infinity'),
    value_json       jsonb,
    producer         text             NOT NULL,
    producer_version text,
    run_id           text,
    recorded_at      timestamptz      NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (entity_key, feature_name, feature_version, event_time, ingest_time),
    CHECK (value_double IS NULL OR value_json IS NULL)
);
COMMENT ON COLUMN feature_events.event_time IS 'what the value is about';
COMMENT ON COLUMN feature_events.ingest_time IS 'when the value could first be known';
COMMENT ON COLUMN feature_events.recorded_at IS
    'when the row was written; much later than ingest_time where availability is assumed';

CREATE TRIGGER feature_events_append_only
    BEFORE UPDATE OR DELETE ON feature_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER feature_events_no_truncate
    BEFORE TRUNCATE ON feature_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
