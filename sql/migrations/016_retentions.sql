-- What an operator has dropped for good, who did so, and which training sets that took with it.

CREATE TABLE retentions (
    retention_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name    text        NOT NULL,
    dropped_until timestamptz NOT NULL,
    row_count     bigint      NOT NULL CHECK (row_count >= 0),
    snapshot_ids  uuid[]      NOT NULL,
    dropped_by    text        NOT NULL CHECK (dropped_by <> ''),
    dropped_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX retentions_snapshots ON retentions USING gin (snapshot_ids);
COMMENT ON COLUMN retentions.dropped_until IS
    'every row with an earlier event time went, and no other';
COMMENT ON COLUMN retentions.snapshot_ids IS
    'training sets made of dropped rows: they can no longer be collected from the database';

CREATE TRIGGER retentions_append_only
    BEFORE UPDATE OR DELETE ON retentions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER retentions_no_truncate
    BEFORE TRUNCATE ON retentions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
