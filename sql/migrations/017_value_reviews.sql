-- A value that should not be as it is stays; that a person has looked at it is on record.

CREATE TABLE value_reviews (
    entity_key      text        NOT NULL,
    feature_name    text        NOT NULL,
    feature_version integer     NOT NULL,
    event_time      timestamptz NOT NULL,
    ingest_time     timestamptz NOT NULL,
    reviewed_by     text        NOT NULL CHECK (reviewed_by <> ''),
    reason          text        NOT NULL CHECK (reason <> ''),
    recorded_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (entity_key, feature_name, feature_version, event_time, ingest_time)
);
COMMENT ON TABLE value_reviews IS
    'rows of feature_events that the checks of a run let pass; reads do not ask for it';

CREATE TRIGGER value_reviews_append_only
    BEFORE UPDATE OR DELETE ON value_reviews
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER value_reviews_no_truncate
    BEFORE TRUNCATE ON value_reviews
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
