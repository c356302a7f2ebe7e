-- What proves a model: its training set collected again, its reproduction, and a record that stays.

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

-- What was trained, promoted and predicted is a record: the database refuses to rewrite it.

CREATE FUNCTION refuse_orphaning() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Rows of a model go with it, and with nothing else.
    IF EXISTS (SELECT 1 FROM models WHERE model_id = OLD.model_id) THEN
        RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
            USING ERRCODE = 'restrict_violation',
                  HINT = 'log a new evaluation or artifact; deleting the model deletes its rows';
    END IF;
    RETURN OLD;
END $$;

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A deployment may be ended, once.
    IF TG_OP = 'DELETE' OR NOT upper_inf(OLD.live_range)
       OR lower(NEW.live_range) IS DISTINCT FROM lower(OLD.live_range)
       OR (NEW.deployment_id, NEW.strategy_id, NEW.model_id, NEW.promoted_by, NEW.reason,
           NEW.evidence, NEW.recorded_at)
          IS DISTINCT FROM
          (OLD.deployment_id, OLD.strategy_id, OLD.model_id, OLD.promoted_by, OLD.reason,
           OLD.evidence, OLD.recorded_at) THEN
        RAISE EXCEPTION 'model_deployments is a record: % refused', TG_OP
            USING ERRCODE = 'restrict_violation',
                  HINT = 'promote another version, or roll back';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER predictions_append_only
    BEFORE UPDATE OR DELETE ON predictions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER predictions_no_truncate
    BEFORE TRUNCATE ON predictions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER training_snapshots_append_only
    BEFORE UPDATE OR DELETE ON training_snapshots
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER models_unchanged
    BEFORE UPDATE ON models
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER model_metrics_unchanged
    BEFORE UPDATE ON model_metrics
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER model_metrics_kept
    BEFORE DELETE ON model_metrics
    FOR EACH ROW EXECUTE FUNCTION refuse_orphaning();
CREATE TRIGGER model_artifacts_unchanged
    BEFORE UPDATE ON model_artifacts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER model_artifacts_kept
    BEFORE DELETE ON model_artifacts
    FOR EACH ROW EXECUTE FUNCTION refuse_orphaning();
CREATE TRIGGER model_deployments_recorded
    BEFORE UPDATE OR DELETE ON model_deployments
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
