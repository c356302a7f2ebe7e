-- A value that is stored as known before the time it is about stays; that a person has looked at it is on record.

CREATE TABLE early_value_reviews (
    entity_key      text        NOT NULL,
    feature_name    text        NOT NULL,
    feature_version integer     NOT NULL,
    event_time      timestamptz NOT NULL,
    ingest_time     timestamptz NOT NULL,
    reviewed_by     text        NOT NULL CHECK (reviewed_by <> ''),
    reason          text        NOT NULL CHECK (reason <> ''),
    recorded_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (entity_key, feature_name, feature_version, event_time, ingest_time),
    CHECK (ingest_time < event_time)
);
COMMENT ON TABLE early_value_reviews IS
    'rows of feature_events that the check nothing_looks_ahead lets pass; reads do not ask for it';

CREATE TRIGGER early_value_reviews_append_only
    BEFORE UPDATE OR DELETE ON early_value_reviews
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER early_value_reviews_no_truncate
    BEFORE TRUNCATE ON early_value_reviews
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
