-- What rebuilding a training set needs beside its own row, and what came of it.

ALTER TABLE training_snapshots
    ADD COLUMN spine_first date,
    ADD COLUMN spine_last  date,
    ADD COLUMN universe    text;
COMMENT ON COLUMN training_snapshots.spine_first IS
    'first session of decision that was asked for; NULL where it was not recorded';
COMMENT ON COLUMN training_snapshots.universe IS
    'index of which a stock had to be a known member; NULL where every stock with a price was in';

CREATE TABLE model_reproductions (
    reproduction_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id         uuid        NOT NULL REFERENCES models ON DELETE CASCADE,
    identical        boolean     NOT NULL,
    parts            jsonb       NOT NULL,
    code_version     text        NOT NULL,
    code_dirty       boolean     NOT NULL,
    library_versions jsonb       NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX model_reproductions_model ON model_reproductions (model_id, recorded_at);
COMMENT ON COLUMN model_reproductions.parts IS
    'verdict on data, weights, predictions and metrics: identical, or the first difference';

CREATE TRIGGER model_reproductions_unchanged
    BEFORE UPDATE ON model_reproductions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
